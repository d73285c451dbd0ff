
# --- Files: nothing is opened by a path, only by a name in a directory that is open already ---

MAX_LINKS, MAX_DEPTH = 40, 64
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def walk(parts, create, use):
    folders = [os.open(WORKSPACE, FOLDER)]
    todo = list(reversed(parts))
    links = 0
    try:
        while todo:
            name = todo.pop()
            folder = folders[-1]
            if name in ("", "."):
                continue
            if name == "..":
                if len(folders) == 1:
                    raise Refusal("invalid_argument", "a link in the path leads out of /workspace")
                os.close(folders.pop())
                continue
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                found = None
            if found is not None and modes.S_ISLNK(found.st_mode):
                links += 1
                target = os.readlink(name, dir_fd=folder)
                if links > MAX_LINKS:
                    raise Refusal("invalid_argument", "the path has too many links")
                if target.startswith("/"):
                    if target != WORKSPACE and not target.startswith(WORKSPACE + "/"):
                        raise Refusal("invalid_argument", "a link in the path leads out of /workspace")
                    while len(folders) > 1:
                        os.close(folders.pop())
                    target = target[len(WORKSPACE):]
                todo.extend(reversed(target.split("/")))
                continue
            if not todo:
                return use(folder, name, found)
            if found is None and create:
                try:
                    os.mkdir(name, dir_fd=folder)
                except FileExistsError:
                    pass
            if len(folders) > MAX_DEPTH:
                raise Refusal("invalid_argument", "the path is more than %d directories deep" % MAX_DEPTH)
            folders.append(os.open(name, FOLDER, dir_fd=folder))
        return use(folders[-1], None, None)
    finally:
        for folder in folders:
            os.close(folder)


def only_files(found):
    if not modes.S_ISREG(found.st_mode):
        kind = "a directory" if modes.S_ISDIR(found.st_mode) else "a pipe" if modes.S_ISFIFO(found.st_mode) \
            else "a socket" if modes.S_ISSOCK(found.st_mode) else "a device"
        raise Refusal("invalid_argument", "it is %s, and only files can be read and written" % kind)


def not_workspace(name):
    if name is None:
        raise Refusal("invalid_argument", "it is a directory, and only files can be read and written")


def too_large(size, most):
    return Refusal("limit_exceeded", "the file has %s bytes; %d are allowed" % (size, most))


def read_file(operation, payload):
    told = json.loads(payload)
    most = told["most"]

    def use(folder, name, found):
        not_workspace(name)
        if found is None:
            raise Refusal("not_found", "there is no such file")
        only_files(found)
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY, dir_fd=folder)
        try:
            # What was looked at and what was opened may be two things.
            opened_now = os.fstat(fd)
            only_files(opened_now)
            if opened_now.st_size > most:
                raise too_large(opened_now.st_size, most)
            total = 0
            while True:
                data = os.read(fd, PIECE)
                if not data:
                    return
                total += len(data)
                # It grows while it is read.
                if total > most:
                    raise too_large("more than %d" % most, most)
                send(OUT, operation, data)
        finally:
            os.close(fd)
    walk(told["parts"], False, use)
    finish(operation, {})


def list_files(operation, payload):
    told = json.loads(payload)

    def use(folder, name, found):
        if name is not None and found is None:
            raise Refusal("not_found", "there is no such directory")
        if name is not None and not modes.S_ISDIR(found.st_mode):
            raise Refusal("invalid_argument", "it is not a directory")
        fd = os.open("." if name is None else name, FOLDER, dir_fd=folder)
        entries, truncated = [], False
        try:
            with os.scandir(fd) as listing:
                for entry in listing:
                    if len(entries) == told["most"]:
                        truncated = True
                        break
                    kind = "link" if entry.is_symlink() else "file" if entry.is_file(follow_symlinks=False) \
                        else "directory" if entry.is_dir(follow_symlinks=False) else "other"
                    size = 0
                    try:
                        if kind == "file":
                            size = entry.stat(follow_symlinks=False).st_size
                    except OSError:
                        pass  # It is gone.
                    entries.append([os.fsencode(entry.name).decode("utf-8", "replace"), kind, size])
        finally:
            os.close(fd)
        pour(OUT, operation, json.dumps({"entries": entries, "truncated": truncated}).encode())
    walk(told["parts"], False, use)
    finish(operation, {})


class WriteFile(Job):
    """The whole file or nothing: what comes is written beside it and takes its place at the end."""

    def __init__(self, operation, payload):
        super().__init__(operation)
        told = json.loads(payload)
        self.parts = told["parts"]
        self.size = told["size"]
        self.content = bytearray()

    def begin(self):
        pass

    def data(self, payload):
        if len(self.content) <= self.size:
            self.content += payload

    def end(self):
        try:
            if len(self.content) != self.size:
                raise Refusal("internal", "a part of the file is missing")
            walk(self.parts, True, self.put)
            finish(self.operation, {})
        except Exception as error:
            fail(self.operation, error)

    def put(self, folder, name, found):
        not_workspace(name)
        if found is not None:
            only_files(found)
        beside = "." + str(uuid.uuid4())
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
        try:
            try:
                view = memoryview(self.content)
                while view:
                    view = view[os.write(fd, view):]
                if found is not None:
                    os.fchmod(fd, found.st_mode & 0o777)
            finally:
                os.close(fd)
            os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(beside, dir_fd=folder)
            raise

    def cancel(self):
        finish(self.operation, {})
