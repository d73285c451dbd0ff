# What lies in the volume.
MARKER = ".dynamic-mcp-installed"


class Excess(Exception):
    pass


class Told(Exception):
    """A failure whose text is for the caller."""


def walk(root):
    """Pairs of relative path and stat of everything below `root`."""
    waiting = [""]
    while waiting:
        at = waiting.pop()
        try:
            entries = list(os.scandir(os.path.join(root, at)))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in sorted(entries, key=lambda it: it.name):
            relative = f"{at}/{entry.name}" if at else entry.name
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield relative, found
            if modes.S_ISDIR(found.st_mode):
                waiting.append(relative)


def count(root, limits):
    size = files = 0
    for _, found in walk(root):
        size += found.st_blocks * 512
        files += 1
        if size > limits["max_bytes"]:
            raise Excess("bytes")
        if files > limits["max_files"]:
            raise Excess("files")


def watch(root, limits, child):
    """Looks again and again while `child` runs, and ends it when there is too much."""
    found = []

    def look():
        pause = 0.2
        while child.poll() is None:
            time.sleep(pause)
            begun = time.monotonic()
            try:
                count(root, limits)
            except (Excess, OSError) as error:
                found.append(error)
                child.kill()
                return
            pause = max(0.2, 4 * (time.monotonic() - begun))

    threading.Thread(target=look, daemon=True).start()
    return found


def is_elf(file):
    with open(file, "rb") as opened:
        return opened.read(4) == b"\x7fELF"


def inspect(root, limits):
    """Checks the tree that calls will see, and counts it."""
    seen = {"files": 0, "bytes": 0, "native": [], "native_count": 0}
    named = re.compile(r"\.(so|pyd|dylib|dll|exe|node)$|\.so\.")
    count(root, limits)
    for relative, found in walk(root):
        seen["files"] += 1
        seen["bytes"] += found.st_blocks * 512
        file = os.path.join(root, relative)
        if modes.S_ISLNK(found.st_mode):
            target = os.readlink(file)
            away = os.path.relpath(os.path.normpath(os.path.join(os.path.dirname(file), target)), root)
            if os.path.isabs(target) or away == ".." or away.startswith("../"):
                raise Told(f"the package has a link that leads away: {relative}")
        elif modes.S_ISREG(found.st_mode):
            if found.st_mode & 0o6000:
                os.chmod(file, found.st_mode & 0o777)
            if named.search(relative) or (found.st_mode & 0o111 and is_elf(file)):
                seen["native_count"] += 1
                if len(seen["native"]) < 20:
                    seen["native"].append(relative)
        elif not modes.S_ISDIR(found.st_mode):
            raise Told(f"the package has something that is no file: {relative}")
    return seen
