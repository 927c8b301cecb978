-- Every request stores another object with another body. Arguments: prefix of the ids, bytes of a body.
local prefix, filler
local number = 0

function init(arguments)
   prefix = arguments[1]
   local bytes = {}
   for at = 1, tonumber(arguments[2]) do
      bytes[at] = string.char(math.random(33, 126))
   end
   filler = table.concat(bytes)
end

function request()
   number = number + 1
   local mark = prefix .. "/" .. number .. " "
   return wrk.format("PUT", "/objects/" .. prefix .. "/" .. number, nil, mark .. filler:sub(#mark + 1))
end

function done(summary)
   local failed = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "seconds": %f, "errors": %d}\n',
      summary.requests, summary.duration / 1e6,
      failed.connect + failed.read + failed.write + failed.status + failed.timeout))
end
