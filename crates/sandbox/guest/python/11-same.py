# --- What the code begins with that is the same in each call: imports, classes, functions, plain values ---

OF_CALL = ('args', 'ctx')
# Calls to what these have declare something: they do not look at the clock, nor at chance.
DECLARE = ('abc', 'dataclasses', 'enum', 'typing')
PLAIN = (ast.Constant, ast.Attribute, ast.Subscript, ast.Slice, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.UnaryOp,
         ast.BinOp, ast.arguments, ast.arg, ast.keyword, ast.expr_context, ast.operator, ast.unaryop)


def is_plain(node, declare):
    """Whether it calls nothing but those names. What stands in a lambda runs later, if at all."""
    if isinstance(node, ast.Name):
        return True
    if isinstance(node, ast.Lambda):
        return is_plain(node.args, declare)
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in declare:
            return False
    elif not isinstance(node, PLAIN):
        return False
    return all(is_plain(child, declare) for child in ast.iter_child_nodes(node))


def is_declared(statement, declare, in_class=False):
    """The same of a statement. What stands in a function runs later, if at all."""
    are_plain = lambda *nodes, calls=declare: all(node is None or is_plain(node, calls) for node in nodes)
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        if getattr(statement, 'type_params', None) or statement.name in declare:
            return False
        if not are_plain(*statement.decorator_list):
            return False
        if isinstance(statement, ast.ClassDef):
            return are_plain(*statement.bases, *statement.keywords) and \
                all(is_declared(inner, declare, True) for inner in statement.body)
        return are_plain(statement.args, statement.returns)
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    # Outside of classes a call is as likely the code's work as a declaration.
    calls = declare if in_class else ()
    if isinstance(statement, ast.Assign):
        return all(is_new_name(target, declare) for target in statement.targets) and \
            are_plain(statement.value, calls=calls)
    if isinstance(statement, ast.AnnAssign):
        return is_new_name(statement.target, declare) and \
            are_plain(statement.annotation, statement.value, calls=calls)
    return isinstance(statement, ast.Pass)


def is_new_name(target, declare):
    """Not one whose calls would then be others."""
    return isinstance(target, ast.Name) and target.id not in declare


def is_of_call(statement):
    """Whether it names what only the call has. Also in functions: a decorator, or a package that makes a class, may
    run them at once."""
    return any(isinstance(node, ast.Name) and node.id in OF_CALL or getattr(node, 'name', None) in OF_CALL
               for node in ast.walk(statement))


def begins_until(body):
    """How many statements the code begins with that are the same in each call."""
    declare = set()
    for at, statement in enumerate(body):
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            names = [alias.asname or alias.name.partition('.')[0] for alias in statement.names]
            if any(name in OF_CALL for name in names) or getattr(statement, 'level', 0):
                return at
            declare.difference_update(names)
            if isinstance(statement, ast.ImportFrom) and \
                    (statement.module in DECLARE or is_installed(statement.module)):
                declare.update(names)
        elif is_of_call(statement) or not is_declared(statement, declare):
            return at
    return len(body)


def with_gate(body):
    """The statements, with one among them that waits for the call."""
    at = begins_until(body)
    gate = parse_code('async def run(args, ctx):\n args, ctx = await args', FILE).body[0].body[0]
    for node in ast.walk(gate):
        ast.copy_location(node, body[min(at, len(body) - 1)])
    return [*body[:at], gate, *body[at:]]


class Gate:
    """What code that has begun waits for: its arguments and its context."""
    __slots__ = ('reached', 'call')

    def __init__(self):
        self.reached, self.call = THE_LOOP.create_future(), THE_LOOP.create_future()

    def __await__(self):
        self.reached.set_result(None)
        return (yield from self.call)


# The code that has begun, its task, and where it waits.
BEGUN = None


async def begin_code(code):
    """Runs it up to where its call is needed."""
    global BEGUN
    gate = Gate()
    main = THE_LOOP.create_task(drive(load(code, True), gate, None))
    state.tasks.discard(main)
    await wait_for_all((main, gate.reached), return_when='FIRST_COMPLETED')
    if state.is_child:
        os_exit(0)
    if main.done():
        main.result()
        raise RuntimeError('the code came to its end before its call')
    BEGUN = code, main, gate


def go_on(code, args, context):
    """The task of code that has begun, if it has: now it has its call."""
    global BEGUN
    if BEGUN is None:
        return None
    (begun, main, gate), BEGUN = BEGUN, None
    if begun != code:
        # It serves no other: not the engine.
        os_exit(71)
    gate.call.set_result((args, context))
    return main


