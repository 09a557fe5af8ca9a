-- wrk's side of the bench. Headers come from BENCH_HEADERS; BENCH_PATHS and BENCH_KEYS name files whose lines (paths,
-- API keys) are taken in turn; each line of BENCH_PROOFS is a bound token and a proof, to be used once. BENCH_BODY is sent
-- by POST. Requests are made before the run: the load generator should cost as little as it can.

local ready = {}
local turn = 0

local function lines(variable)
  local found = {}
  local name = os.getenv(variable) or ""
  if name ~= "" then
    for line in io.lines(name) do found[#found + 1] = line end
  end
  return found
end

function init(args)
  for line in (os.getenv("BENCH_HEADERS") or ""):gmatch("[^\n]+") do
    local name, value = line:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
  local paths = lines("BENCH_PATHS")
  local keys = lines("BENCH_KEYS")
  local proofs = lines("BENCH_PROOFS")
  for at = 1, math.max(1, #paths, #keys, #proofs) do
    if #proofs > 0 then
      local token, proof = proofs[at]:match("^(%S+) (%S+)$")
      wrk.headers["Authorization"] = "DPoP " .. token
      wrk.headers["DPoP"] = proof
    end
    if #keys > 0 then wrk.headers["X-API-Key"] = keys[(at - 1) % #keys + 1] end
    local body = os.getenv("BENCH_BODY") or ""
    local path = #paths > 0 and paths[(at - 1) % #paths + 1] or nil
    ready[at] = body == "" and wrk.format("GET", path) or wrk.format("POST", path, nil, body)
  end
end

function request()
  turn = turn + 1
  if turn > #ready then turn = 1 end
  return ready[turn]
end
