"""The operations of the Redis engine, each one Lua script: it runs atomically, so readers see all
of it or nothing.

``standing``
    (hash) The state: identity of the storage, schema, generation, version, serial, ... It has the
    fields `schema`, `identity` and `serial` in every version, so that each version can recognize
    the others.
``lines``
    (hash) Each row's serial, then ``+`` and its line, or ``-`` if it was removed.
``order``
    (sorted set) Each row's version.
``gone``
    (sorted set) Each removed row's version.
``news``
    (stream) An entry for each change: "look".

Each script that reads rows first checks that they can be trusted, or returns ``ANEW``:

* `run` is the process that answers and the history of its data: a server that was restarted, or
  that was promoted to master, may lack the last changes, and would go on from an older version with
  the same numbers.
* `count` is the number of rows: a server that evicts keys when memory is short removes `lines` or
  `order` as a whole.
* `version` is that of the last row: a script that fails in its middle (its user may not use a
  command) is not rolled back, and so each begins with `order`, and ends with `standing`.

The first write of a script is one that a server without memory refuses. Operations that must work
all the same (remove or yank, notify of changed rights) begin with one that is never refused: Redis
checks its memory only before the first.
"""

from __future__ import annotations

from hashlib import sha1

from attrs import field, frozen

SCHEMA = 1
NEWS = 100
"""About so many entries stay in the stream: they only say "look", and no reader is behind for
longer than a heartbeat.
"""

SMALL = 512
"""Bytes by which a line may grow on a server without memory: a yank must be visible all the same.
"""


@frozen
class Script:
    """A Lua script. `digest` identifies it to the server, once the server has seen it."""

    text: str = field(repr=False)
    digest: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(
            self, "digest", sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        )


_KEYS = """
local standing, lines, order, gone, news = unpack(KEYS)
local schema, run = ARGV[1], ARGV[2]
local info = redis.call('INFO', 'replication')
if not info:find('role:master', 1, true) then return {'REPLICA'} end
run = run .. '/' .. (info:match('master_replid:(%w+)') or '')
local function whole(number) return string.format('%.0f', number) end
local function tell()
  local id = redis.call('XADD', news, 'MAXLEN', '~', '{NEWS}', '*', 'look', '')
  redis.call('HSET', standing, 'news', id)
end
local function whole_up_to(version, count)
  local last = redis.call('ZREVRANGE', order, 0, 0, 'WITHSCORES')[2]
  return redis.call('HLEN', lines) == count and redis.call('ZCARD', order) == count
    and tonumber(last or 0) <= version
end
local function state()
  local now = redis.call(
    'HMGET', standing, 'epoch', 'version', 'serial', 'complete', 'rights', 'news')
  return {'OK', now[1], now[2], now[3], now[4], now[5], now[6] or '0'}
end
""".replace("{NEWS}", str(NEWS))
"""Numbers are doubles in Lua: `whole` writes those above 10**14 as whole numbers, too."""

_BELIEVE = (
    _KEYS
    + """
local now = redis.call(
  'HMGET', standing, 'schema', 'run', 'epoch', 'version', 'serial', 'lost', 'count')
if not now[1] then return {'ANEW'} end
if now[1] ~= schema then return {'SCHEMA', now[1]} end
if now[2] ~= run or not whole_up_to(tonumber(now[4]), tonumber(now[7])) then return {'ANEW'} end
local version, serial, lost = tonumber(now[4]), tonumber(now[5]), tonumber(now[6])
"""
)
_OF_EPOCH = f"{_BELIEVE}if now[3] ~= ARGV[3] then return {{'ANEW'}} end\n"

_BEGIN = """
local function begin(epoch, serial)
  redis.call('UNLINK', lines, order, gone)
  redis.call('HSET', standing, 'schema', schema, 'run', run, 'epoch', epoch, 'version', '0',
    'serial', serial, 'lost', '0', 'complete', '0', 'count', '0')
  tell()
end
"""

OPEN = Script(
    _KEYS
    + _BEGIN
    + """
local identity, serial, epoch, gap = ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local now = redis.call('HMGET', standing, 'schema', 'identity', 'run', 'serial', 'version', 'count')
if now[2] and now[2] ~= identity then return {'IDENTITY'} end
if not now[2] and redis.call('EXISTS', standing) == 1 then return {'STRANGE'} end
local is_ours = now[1] == schema and now[3] == run
  and whole_up_to(tonumber(now[5]), tonumber(now[6]))
if not is_ours then
  if now[2] then serial = math.max(serial, tonumber(now[4] or 0) + gap) end
  local time = redis.call('TIME')
  begin(epoch, whole(serial))
  local rights = time[1] .. string.format('%06d', time[2])
  redis.call('HSET', standing, 'identity', identity, 'rights', rights)
end
return state()
"""
)
"""ARGV: schema, run, identity, serial, generation (one that was never used), gap.

`gap` is added to the serial that is found: the last serials that were given may be lost with the
rest. `rights` begin at the time, for the same reason: a number that some node has seen must not
stand for something later.
"""

STATE = Script(f"{_BELIEVE}return state()")

ROW = Script(
    f"{_BELIEVE}"
    """
local held = redis.call('HGET', lines, ARGV[3])
if not held then return {'OK'} end
return {'OK', redis.call('ZSCORE', order, ARGV[3]), held}
"""
)
"""ARGV: schema, run, field."""

CHANGES = Script(
    f"{_OF_EPOCH}"
    """
local since, most, room = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if since > version or (0 < since and since < lost) then return {'ANEW'} end
local found = redis.call(
  'ZRANGEBYSCORE', order, '(' .. ARGV[4], '+inf', 'WITHSCORES', 'LIMIT', 0, most + 1)
local answer = {'OK', '0'}
for at = 1, #found, 2 do
  local size = redis.call('HSTRLEN', lines, found[at])
  if at > 2 * most or (at > 1 and size > room) then
    answer[2] = '1'
    break
  end
  room = room - size
  answer[#answer + 1] = found[at]
  answer[#answer + 1] = found[at + 1]
  answer[#answer + 1] = redis.call('HGET', lines, found[at])
end
return answer
"""
)
"""ARGV: schema, run, generation, since, most rows, most bytes."""

SWAP = Script(
    f"{_OF_EPOCH}"
    """
local changes, is_small, is_seen, is_done = {}, true, false, true
for first = 4, #ARGV, 4 do
  local change = {field = ARGV[first], wanted = ARGV[first + 3], at = 0, its = '0'}
  local held, wanted = redis.call('HGET', lines, change.field), change.wanted
  change.is_seen = ARGV[first + 2] == '1'
  change.is_new = not held
  if held then
    change.at = tonumber(redis.call('ZSCORE', order, change.field))
    local mark = held:find('[+-]') or #held + 1
    local is_whole = mark < 20 and held:sub(1, mark - 1):match('^%d+$')
    change.its = is_whole or '0'
    change.is_done = is_whole and #held - mark + 1 == #wanted and held:sub(mark) == wanted
    if is_whole and not change.is_done and held:sub(mark, mark) == '-' then change.at = 0 end
  end
  if not change.is_done then
    if change.at ~= tonumber(ARGV[first + 1]) then
      if change.at == 0 then return {'CONFLICT', change.field} end
      return {'CONFLICT', change.field, whole(change.at), held}
    end
    is_small = is_small and (wanted == '-' or (held and #wanted <= #held + {SMALL}))
    is_seen = is_seen or change.is_seen
    is_done = false
  end
  changes[#changes + 1] = change
end
local answer, count = {'OK'}, tonumber(now[7])
if is_seen then serial = serial + 1 end
for _, change in ipairs(changes) do
  local field, wanted = change.field, change.wanted
  if not change.is_done then
    version = version + 1
    change.at = version
    if change.is_seen then change.its = whole(serial) end
    if change.is_new then count = count + 1 end
    if is_small then redis.call('ZREM', gone, field) end
    redis.call('ZADD', order, whole(version), field)
    redis.call('HSET', lines, field, change.its .. wanted)
    if wanted == '-' then
      redis.call('ZADD', gone, whole(version), field)
    else
      redis.call('ZREM', gone, field)
    end
  end
  answer[#answer + 1] = whole(change.at)
  answer[#answer + 1] = change.its
end
if not is_done then
  redis.call(
    'HSET', standing, 'version', whole(version), 'serial', whole(serial), 'count', whole(count))
  tell()
end
return answer
""".replace("{SMALL}", str(SMALL))
)
"""ARGV: schema, run, generation, and for each row: field, expected, seen, and ``+`` with the line,
or ``-``.

All rows are compared before the first is changed. A field follows ``CONFLICT``, and its version and
contents, if it has any.
"""

_ALWAYS = "redis.call('HDEL', standing, '') "
"""A first write that a server without memory does not refuse, so that what follows works, too."""

SAY_COMPLETE = Script(
    f"{_OF_EPOCH}{_ALWAYS}redis.call('HSET', standing, 'complete', '1') tell() return state()"
)

NOTE_RIGHTS = Script(
    f"{_BELIEVE}{_ALWAYS}redis.call('HINCRBY', standing, 'rights', 1) tell() return state()"
)

CLEAR = Script(f"{_BELIEVE}{_BEGIN}begin(ARGV[3], now[5]) return state()")
"""ARGV: schema, run, generation."""

TIDY = Script(
    f"{_BELIEVE}"
    """
local most = math.min(redis.call('ZCARD', gone) - tonumber(ARGV[3]), tonumber(ARGV[4]))
if most <= 0 then return {'OK', '0'} end
local found = redis.call('ZRANGE', gone, 0, most - 1, 'WITHSCORES')
for at = 1, #found, 2 do
  redis.call('HDEL', lines, found[at])
  redis.call('ZREM', order, found[at])
  redis.call('ZREM', gone, found[at])
end
local lost_now, count = whole(tonumber(found[#found])), whole(tonumber(now[7]) - most)
redis.call('HSET', standing, 'lost', lost_now, 'count', count)
return {'OK', whole(most)}
"""
)
"""ARGV: schema, run, how many are to stay, how many at a time."""

LEASE = Script("""
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")
"""ARGV: holder, milliseconds."""

RELEASE = Script(
    "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1"
)

KEEP_LINK = Script("""
local held = redis.call('GET', KEYS[1])
local ends = held and held:match('^(%d+) ')
if ends and #ends < 18 and tonumber(ends) > tonumber(ARGV[1]) then return held end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ARGV[2]
""")
"""ARGV: good after, in microseconds since 1970; those of the new one's end, a space, and its URL;
milliseconds to keep it.
"""
