-- KEYS[5]: leases of a scope. ARGV[4..5]: the scope, the lease's name.
if redis.call('HDEL', KEYS[5], ARGV[5]) > 0 then
  change('services', ARGV[4])
  trim(1)
end
