# How far code begins before its call. The part of the agent that sees to it is the first argument.
# Each case begins up to its line `here`; those without one as `WHOLE` and `INNER` say, or not at all.
# The second argument is the example of docs/dependencies.md, whose comments say it.
import ast, importlib.util, sys

FILE = 'tool.py'
parse_code = ast.parse


def is_installed(name):
    return name.partition('.')[0] in ('pkg', 'pydantic')


exec(sys.argv[1])

CASES = '''
import pkg
class A(pkg.Base):
    """What it is."""
    n: int
    m: 'list[int]' = [1, -2]
    k = {'a': (1, 2)}
    def use(self, x: int = 3) -> int:
        return time.time() + self.n
    class Inner:
        pass
    late = lambda self, x=1: print(x)
def f(x, *y, z=1, **w): return x
async def g(): await f(1)
LIMIT: int = 2 ** 10
ONE = TWO = A
here
---
from pkg import Base, Field as F, field_validator
from dataclasses import dataclass, field
@dataclass(frozen=True)
class A:
    n: list = field(default_factory=list)
class B(Base, extra='forbid'):
    n: int = F(gt=0, le=2 ** 8, description='how many')
    @field_validator('n', mode='after')
    @classmethod
    def check(cls, n): return n + 1
here
---
import pkg
class A(pkg.Base): pass
---
def seen(cls): cls.x = args
---
class A:
    def __init_subclass__(cls): cls.x = ctx
---
class A:
    late = lambda self: args
---
from functools import reduce
class A: x = reduce(f, (1, 2))
---
import time
from pkg import Field
Field = time.time
---
import time
from pkg import Field
class A:
    Field = time.time
    at = Field()
---
from pkg import Field
from time import time as Field
class A: at = Field()
---
class A: n = args
---
class A:
    n: int = 1
    m: args
---
class A(ctx.tool): pass
---
import pkg as args
---
from pkg import x as ctx
---
args = 1
---
class ctx: pass
---
def args(): pass
---
def f(x=args): pass
---
def f(x: args): pass
---
def f() -> ctx: pass
---
@args
def f(): pass
---
import time
class A: at = time.time()
---
from time import time
class A: at = time()
---
from pkg import Field
class A: at = Field(default=str(1))
---
from pkg import Field
class A: at = Field(args)
---
import pkg
class A: at = pkg.now()
---
from pkg import now
x = now()
---
from pkg import now
def f(x=(lambda y=args: y)): pass
---
from .pkg import x
---
class A:
    for n in (1, 2): pass
---
class A:
    n = [m for m in (1, 2)]
---
class A:
    n = f'{x}'
---
class A:
    n = (m := 1)
---
class A:
    print('x')
---
class A:
    import pkg
---
x.y = 1
---
x[0] = 1
---
x: int
x.y: int = 1
---
a, b = 1, 2
---
x += 1
---
x = await f()
---
if True: pass
---
print('x')
---
return 1
---
global x
---
del x
'''

WHOLE = {'import pkg\nclass A(pkg.Base): pass'}
INNER = {
    'from functools import reduce\nclass A: x = reduce(f, (1, 2))': 1,
    'import time\nfrom pkg import Field\nField = time.time': 2,
    'import time\nfrom pkg import Field\nclass A:\n    Field = time.time\n    at = Field()': 2,
    'from pkg import Field\nfrom time import time as Field\nclass A: at = Field()': 2,
    'import time\nclass A: at = time.time()': 1, 'from time import time\nclass A: at = time()': 1,
    'from pkg import Field\nclass A: at = Field(default=str(1))': 1,
    'from pkg import Field\nclass A: at = Field(args)': 1, 'import pkg\nclass A: at = pkg.now()': 1,
    'from pkg import now\nx = now()': 1, 'from pkg import now\ndef f(x=(lambda y=args: y)): pass': 1,
    'x: int\nx.y: int = 1': 1,
}

wrong, count = [], 0
for case in CASES.split('---'):
    case = case.strip()
    source = 'async def run(args, ctx):\n' + '\n'.join('  ' + line for line in case.split('\n'))
    body = ast.parse(source).body[0].body
    found = begins_until(body)
    expected = len(body) if case in WHOLE else INNER.get(case, 0)
    if case.endswith('\nhere'):
        expected = len(body) - 1
    if found != expected:
        wrong.append(f'{found} of {len(body)}, not {expected}:\n{case}')
    whole = with_gate(body)
    gate = whole[found]
    compile(ast.Module(body=[ast.AsyncFunctionDef(
        name='run', args=ast.parse('def f(args, ctx): pass').body[0].args, body=whole, decorator_list=[],
        lineno=1, col_offset=0, **({'type_params': []} if sys.version_info >= (3, 12) else {}))], type_ignores=[]), FILE, 'exec')
    if not isinstance(gate.value, ast.Await) or gate.lineno != body[min(found, len(body) - 1)].lineno:
        wrong.append(f'the gate is on line {gate.lineno}:\n{case}')
    count += 1
example = sys.argv[2]
body = ast.parse(example).body
ahead, by_call = body[:begins_until(body)], body[begins_until(body):]
lines = example.splitlines()
if not all('# ahead' in lines[it.lineno - 1] for it in ahead) or '# by the call' not in lines[by_call[0].lineno - 1]:
    wrong.append(f'the example: {len(ahead)} ahead')
print('\n'.join(wrong) or f'{count} are right')
