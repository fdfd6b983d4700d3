-- Load for a gateway, by wrk: chat completions for the keys of a file, in turn. Ends with a line of JSON.

local requests, turn = {}, 0

function init(args)
  local body = '{"model":"glm-4.7","messages":[{"role":"user","content":"Hello"}]}'
  for key in io.lines(args[1]) do
    local headers = { ['Authorization'] = 'Bearer ' .. key, ['Content-Type'] = 'application/json' }
    requests[#requests + 1] = wrk.format('POST', '/v1/chat/completions', headers, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  local json = '\n{"requests":%d,"refused":%d,"broken":%d,"late":%d,"seconds":%f,"p50":%f,"p99":%f,"p99.9":%f}\n'
  -- `status` counts what is above 399: the gateway has no other answers but 200. Times are in microseconds.
  io.write(json:format(
    summary.requests,
    errors.status,
    errors.connect + errors.read + errors.write,
    errors.timeout,
    summary.duration / 1e6,
    latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3
  ))
end
