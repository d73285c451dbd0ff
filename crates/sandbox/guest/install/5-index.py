# Every wheel of a locked version, so that the lock holds for other versions of Python too.
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
MAX_PAGE = 32 << 20


may_go = threading.Event()


def opener_of(task):
    import ssl
    import urllib.request

    proxy = f"http://127.0.0.1:{task['port']}"
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({"http": proxy, "https": proxy}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=task["trusted"])),
    )


def ask_for_hosts(task):
    """An index may keep its files elsewhere. Before anything else is read, it is asked where those of
    one package are, and the executor decides whether pip may go there."""
    from urllib.parse import urlsplit

    try:
        links = [link for _, _, link in read_page(task, opener_of(task), task["first"])]
    except (OSError, ValueError, KeyError):
        # pip says it better.
        links = []
    ports = {"https": 443, "http": 80}
    places = {urlsplit(link)[:2] for link in links}
    hosts = set()
    for scheme, place in places:
        if scheme in ports and "@" not in place:
            hosts.add(place if re.search(r":\d+$", place) else f"{place}:{ports[scheme]}")
    send(b"H", 0, sorted(hosts)[:8])
    may_go.wait()


def read_page(task, opener, name):
    """The files of a package: file name, SHA-256 (or none) and address of each."""
    import html.parser
    import urllib.parse
    import urllib.request

    base = task["index"].rstrip("/")
    request = urllib.request.Request(f"{base}/{name}/", headers={"Accept": ACCEPT})
    if task.get("index_auth"):
        request.add_header("Authorization", task["index_auth"])
    with opener.open(request, timeout=20) as page:
        kind = page.headers.get_content_type()
        text = page.read(MAX_PAGE)
    if kind.endswith("+json"):
        return [
            (
                file["filename"],
                file.get("hashes", {}).get("sha256"),
                urllib.parse.urljoin(request.full_url, file["url"]),
            )
            for file in json.loads(text)["files"]
            if not file.get("yanked")
        ]
    found = []

    class Links(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            there = dict(attributes)
            link = urllib.parse.urlsplit(there.get("href") or "")
            file = urllib.parse.unquote(link.path.rsplit("/", 1)[-1])
            if tag == "a" and file and "data-yanked" not in there:
                digest = link.fragment[7:] if link.fragment.startswith("sha256=") else None
                address = urllib.parse.urljoin(request.full_url, there["href"])
                found.append((file, digest, address))

    Links().feed(text.decode("utf-8", "replace"))
    return found


def add_wheels(task, packages):
    from concurrent.futures import ThreadPoolExecutor

    from pip._vendor.packaging.utils import canonicalize_name, parse_wheel_filename
    from pip._vendor.packaging.version import Version

    opener = opener_of(task)
    here = os.uname().machine

    def add(package):
        hashes = {f"{kind}:{value}" for kind, value in package["hashes"].items() if kind == "sha256"}
        name, version = canonicalize_name(package["name"]), Version(package["version"])
        try:
            files = read_page(task, opener, name)
        except (OSError, ValueError, KeyError):
            # The lock is whole for this Python all the same; it says which one that is.
            files = []
        for file, digest, _ in files:
            try:
                its_name, its_version, _, tags = parse_wheel_filename(file)
            except ValueError:
                continue
            fits = any(
                tag.platform == "any" or ("linux" in tag.platform and tag.platform.endswith(here))
                for tag in tags
            )
            if digest and fits and its_name == name and its_version == version:
                hashes.add(f"sha256:{digest}")
        package["hashes"] = sorted(hashes)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, packages))
