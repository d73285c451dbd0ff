
# --- Packages: a tar of a folder, taken as a whole or not at all ---

BLOCK = 512
MAX_ENTRIES, MAX_PATH, MAX_HEADER = 100000, 4096, 65536


def broken(what):
    return Refusal("dependency_install_failed", "the packages cannot be taken over: %s" % what)


def text_of(data):
    end = data.find(b"\0")
    return os.fsdecode(bytes(data if end < 0 else data[:end]))


def number_of(data):
    word = text_of(data).strip() or "0"
    if len(word) > 12 or any(it not in "01234567" for it in word):
        raise broken("a number is none")
    return int(word, 8)


def names_of(path):
    """The names in a path below the folder that was packed, whose own name comes first."""
    if len(path) > MAX_PATH or path.startswith("/") or "\0" in path:
        raise broken("a path is not allowed")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names or len(names) > MAX_DEPTH:
        raise broken("a path is not allowed")
    return names[1:]


def extended(data):
    """`12 path=x\\n`, one after the other."""
    found = {}
    at = 0
    while at < len(data) and data[at] != 0:
        space = data.find(b" ", at)
        try:
            length = int(data[at:space]) if space > at else 0
        except ValueError:
            length = 0
        if length <= 0 or at + length > len(data):
            raise broken("a header is none")
        key, _, value = os.fsdecode(bytes(data[space + 1:at + length - 1])).partition("=")
        found[key] = value
        at += length
    return found


def remove(path):
    import shutil
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)


class Unpack(Job):
    def __init__(self, operation, payload):
        super().__init__(operation)
        told = json.loads(payload)
        self.place = "%s/%s" % (WORKSPACE, told["target"])
        self.target = told["target"]
        self.most = told["most"]
        self.staging = "%s/.%s" % (WORKSPACE, uuid.uuid4())
        self.links = []
        self.held = bytearray()
        self.entries = self.bytes = 0
        # What comes next: a header, or what is left of a body and where it goes.
        self.body = None
        self.long = {}
        self.over = False
        self.failed = None
        os.mkdir(self.staging, 0o700)

    def begin(self):
        pass

    def below(self, names):
        return "/".join([self.staging, *names])

    def entry(self, header):
        if not any(header):
            self.over = True
            return
        if sum(header[:148]) + 8 * 32 + sum(header[156:]) != number_of(header[148:156]):
            raise broken("a header is damaged")
        kind = chr(header[156] or 48)
        name = text_of(header[:100])
        prefix = text_of(header[345:500]) if header[257:263] == b"ustar\0" else ""
        if prefix:
            name = prefix + "/" + name
        size = number_of(header[124:136])
        if kind in "xgLK":
            if size > MAX_HEADER:
                raise broken("a header is too large")
            self.body = {"kind": kind, "left": size, "pad": -size % BLOCK, "bytes": bytearray(), "fd": -1}
            return
        name = self.long.get("path", name)
        linked = self.long.get("linkpath", text_of(header[157:257]))
        if "size" in self.long:
            if not self.long["size"].isdigit():
                raise broken("a number is none")
            size = int(self.long["size"])
        self.long = {}
        self.entries += 1
        self.bytes += size
        if self.entries > MAX_ENTRIES:
            raise broken("there are more than %d files" % MAX_ENTRIES)
        if self.bytes > self.most:
            raise broken("there are more than %d bytes" % self.most)
        mode = number_of(header[100:108])
        if mode & 0o6000:
            raise broken("a file would run as somebody else")
        names = names_of(name)
        if kind == "2":
            depth = len(names) - 1
            for part in linked.split("/"):
                if part == "..":
                    depth -= 1
                elif part not in ("", "."):
                    depth += 1
                if depth < 0:
                    break
            if linked.startswith("/") or depth < 0 or not names:
                raise broken("a link leads out of it")
            if size != 0:
                raise broken("a link has a content")
            self.links.append((names, linked))
            return
        if kind == "5":
            os.makedirs(self.below(names), exist_ok=True)
            return
        if kind != "0" or not names:
            raise broken("there is more than files, directories and links")
        os.makedirs(self.below(names[:-1]), exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(self.below(names), flags, 0o755 if mode & 0o111 else 0o644)
        self.body = {"kind": kind, "left": size, "pad": -size % BLOCK, "bytes": None, "fd": fd}
        if size == 0:
            self.ended()

    def ended(self):
        body = self.body
        if body["fd"] >= 0:
            os.close(body["fd"])
            body["fd"] = -1
        elif body["kind"] == "L":
            self.long["path"] = text_of(body["bytes"])
        elif body["kind"] == "K":
            self.long["linkpath"] = text_of(body["bytes"])
        elif body["kind"] == "x":
            self.long.update(extended(body["bytes"]))
        if body["pad"] == 0:
            self.body = None

    def step(self, view):
        body = self.body
        if body is None:
            if len(view) < BLOCK:
                return 0
            self.entry(bytes(view[:BLOCK]))
            return BLOCK
        if body["left"] > 0:
            part = view[:body["left"]]
            if body["fd"] < 0:
                body["bytes"] += part
            else:
                rest = part
                while rest:
                    rest = rest[os.write(body["fd"], rest):]
            body["left"] -= len(part)
            if body["left"] == 0:
                self.ended()
            return len(part)
        pad = min(body["pad"], len(view))
        body["pad"] -= pad
        if body["pad"] == 0:
            self.body = None
        return pad

    def data(self, payload):
        if self.failed is not None or self.over:
            return
        self.held += payload
        if len(self.held) < BLOCK:
            return
        held = bytes(self.held)
        view = memoryview(held)
        try:
            while view and not self.over:
                used = self.step(view)
                if used == 0:
                    break
                view = view[used:]
            self.held = bytearray(view)
        except Exception as error:
            self.failed = error

    def tidy(self):
        if self.body is not None and self.body["fd"] >= 0:
            os.close(self.body["fd"])
        self.body = None
        remove(self.staging)

    def merge(self, source, target):
        """A package replaces the one of its name; `@scope` and `.bin` hold several."""
        for name in os.listdir(source):
            there = "%s/%s" % (target, name)
            several = name.startswith("@") or name in (".bin", "bin")
            if several and os.path.isdir(there) and not os.path.islink(there):
                self.merge("%s/%s" % (source, name), there)
                continue
            remove(there)
            os.rename("%s/%s" % (source, name), there)

    def end(self):
        try:
            if self.failed is not None:
                raise self.failed
            if not self.over:
                raise broken("the end is missing")
            for names, linked in self.links:
                os.makedirs(self.below(names[:-1]), exist_ok=True)
                os.symlink(linked, self.below(names))
            if not os.path.lexists(self.place):
                os.rename(self.staging, self.place)
            elif os.path.islink(self.place) or not os.path.isdir(self.place):
                raise broken("%s in the workspace is not a directory" % self.target)
            else:
                self.merge(self.staging, self.place)
            self.tidy()
            finish(self.operation, {})
        except Exception as error:
            self.tidy()
            fail(self.operation, broken("a name comes twice") if isinstance(error, FileExistsError) else error)

    def cancel(self):
        self.tidy()
        finish(self.operation, {})
