-- ARGV[4..5]: head and id.
hush()
local held, gone = erase(ARGV[4], ARGV[5])
if held + gone > 0 then
  told(ARGV[4], ARGV[5])
end
trim(1)
return {held, gone}
