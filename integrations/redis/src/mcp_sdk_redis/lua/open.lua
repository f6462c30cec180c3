-- ARGV[4]: the schema that this package knows. Gives identity and schema.
redis.call('HSETNX', META, 'schema', ARGV[4])
hush()
trim(LIMIT)
return {redis.call('HGET', META, 'identity'), redis.call('HGET', META, 'schema')}
