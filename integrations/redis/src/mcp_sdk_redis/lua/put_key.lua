-- KEYS[5]: signing keys of a scope. ARGV[4..6]: the scope, the key's id, its secret in hexadecimal digits.
local number = redis.call('HINCRBY', META, 'keys', 1)
redis.call('HSET', KEYS[5], ARGV[5], cjson.encode({number, ARGV[6]}))
change('keys', ARGV[4])
trim(1)
