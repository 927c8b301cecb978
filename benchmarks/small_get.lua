-- Each request reads one of the objects that are there. Arguments: prefix of their ids, their count.
local prefix, count

function init(arguments)
   prefix, count = arguments[1], tonumber(arguments[2])
end

function request()
   return wrk.format("GET", "/objects/" .. prefix .. "/" .. math.random(count))
end

function done(summary)
   local failed = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "seconds": %f, "errors": %d}\n',
      summary.requests, summary.duration / 1e6,
      failed.connect + failed.read + failed.write + failed.status + failed.timeout))
end
