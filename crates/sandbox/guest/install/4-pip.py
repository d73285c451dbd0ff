# pip, told everything on its command line and in a file of its own, so that nothing else has a say.
PLACE = "/var/tmp"
PRIVATE = "/workspace/install"
TAIL = 6 << 10
manager_took = [0.0]


def clear_place():
    for entry in os.scandir(PLACE):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    os.mkdir(f"{PLACE}/tmp")
    os.makedirs(PRIVATE, mode=0o700, exist_ok=True)


def trusted(extra):
    """A file with all authorities: pip takes one file in place of its own."""
    from pip._vendor import certifi

    with open(certifi.where(), encoding="ascii", errors="replace") as usual:
        text = usual.read()
    name = f"{PRIVATE}/trusted.pem"
    with open(name, "w", encoding="utf-8") as file:
        file.write(f"{text}\n{extra or ''}\n")
    return name


def pip(task, arguments, lines):
    """Runs pip. `lines` are requirements; the index is named among them, since it may hold a
    password."""
    requirements = f"{PRIVATE}/requirements.txt"
    index = task.get("index_with_auth") or task.get("index")
    with open(requirements, "w", encoding="utf-8") as file:
        file.write("\n".join(([f"--index-url {index}"] if index else []) + lines) + "\n")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": PRIVATE,
        "TMPDIR": f"{PLACE}/tmp",
        "LANG": "C.UTF-8",
        "PIP_CONFIG_FILE": os.devnull,
    }
    command = [
        sys.executable, "-I", "-m", "pip", "--isolated", "--disable-pip-version-check",
        "--no-input", "--no-color", "--quiet", "--retries", "2", "--timeout", "20",
        "--proxy", f"http://127.0.0.1:{task['port']}", "--cert", task["trusted"],
        "install", "--no-cache-dir", "--only-binary", ":all:", "--progress-bar", "off",
        "--root-user-action", "ignore", *arguments, "-r", requirements,
    ]
    begun = time.monotonic()
    child = subprocess.Popen(
        command, cwd=PRIVATE, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    excess = watch(PLACE, task["limits"], child)
    text = b""
    while part := child.stdout.read1(1 << 14):
        text = (text + part)[-TAIL:]
    status = child.wait()
    manager_took[0] += time.monotonic() - begun
    if excess:
        raise excess[0]
    if status != 0:
        text = text.decode("utf-8", "replace")
        raise Told("the image has no pip" if "No module named pip" in text else text)


def prepare(task):
    try:
        import pip  # noqa: F401
    except ImportError:
        raise Told("the image has no pip") from None
    clear_place()
    task["trusted"] = trusted(task.get("extra_ca"))
    task["port"] = serve_proxy()
    if task["first"]:
        ask_for_hosts(task)


def needed_by(about):
    """Names of what a package needs, also of what it needs only sometimes."""
    from pip._vendor.packaging.requirements import InvalidRequirement, Requirement

    names = set()
    for text in about.get("requires_dist", []):
        try:
            names.add(Requirement(text).name)
        except InvalidRequirement:
            continue
    return sorted(names)


def resolve_task(task):
    prepare(task)
    report = f"{PLACE}/report.json"
    pip(task, ["--dry-run", "--ignore-installed", "--report", report], task["requirements"])
    with open(report, encoding="utf-8") as file:
        found = json.load(file)
    packages = []
    for item in found["install"]:
        info, about = item["download_info"], item["metadata"]
        if "archive_info" not in info or item.get("is_direct"):
            raise Told(f"{about['name']} does not come from the index")
        packages.append({
            "name": about["name"],
            "version": about["version"],
            "file": info["url"].split("#")[0].rsplit("/", 1)[-1],
            "hashes": info["archive_info"].get("hashes", {}),
            "requires": needed_by(about),
        })
    add_wheels(task, packages)
    return {"packages": packages, "python": "%d.%d" % sys.version_info[:2]}


def install_task(task):
    prepare(task)
    lines = []
    for package in task["packages"]:
        hashes = " ".join(f"--hash={value}" for value in package["hashes"])
        lines.append(f"{package['name']}=={package['version']} {hashes}")
    arguments = ["--require-hashes", "--target", f"{PLACE}/site"]
    if task["python"] == "%d.%d" % sys.version_info[:2]:
        # The lock is whole for this Python. For another one pip says what it lacks.
        arguments.append("--no-deps")
    pip(task, arguments, lines)
    shutil.rmtree(f"{PLACE}/tmp")
    os.makedirs(f"{PLACE}/site", exist_ok=True)
    # A package may be called `site` itself.
    os.rename(f"{PLACE}/site", f"{PLACE}/.installed")
    for name in os.listdir(f"{PLACE}/.installed"):
        os.rename(f"{PLACE}/.installed/{name}", f"{PLACE}/{name}")
    os.rmdir(f"{PLACE}/.installed")
    seen = inspect(PLACE, task["limits"])
    if seen["native_count"] and not task["allow_native"]:
        return {"native_refused": seen["native"]}
    # Last of all: what has no marker is no set of packages.
    about = {"version": 1, "digest": task["digest"], "platform": task["platform"], **seen}
    marker = json.dumps(about)
    handle = os.open(f"{PLACE}/{MARKER}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    os.write(handle, marker.encode())
    os.fsync(handle)
    os.close(handle)
    os.rename(f"{PLACE}/{MARKER}.new", f"{PLACE}/{MARKER}")
    return {"marker": marker}
