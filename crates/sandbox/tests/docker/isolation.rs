//! `isolation: call`, the default: a second call finds nothing of the first, whatever that left.

use domain::tool::Runtime;
use futures::future::join_all;
use sandbox::docker::DockerEngineSettings;
use serde_json::{Value, json};

use crate::rig::{Rig, settings};
use crate::suite::run::{IMAGE, idle};
use crate::suite::spoken::{Both, PYTHON_IMAGE, Spoken};

/// Leaves traces everywhere, and tells its random numbers.
const LEAVE: Both<'_> = (
    "const fs = require('fs'); for (const dir of ['/tmp', '/workspace', '/dev/shm']) fs.writeFileSync(dir + '/left', 'x'); \
     globalThis.left = 1; process.env.LEFT = '1'; process.title = 'left4141'; Object.prototype.left = 1; \
     fs.writeFileSync('/workspace/left.js', 'module.exports = 1'); require('/workspace/left.js'); \
     setInterval(() => {}, 1); require('net').createServer().listen('\\0left4141'); \
     require('child_process').spawn('sleep', ['4141'], {detached: true, stdio: 'ignore'}).unref(); \
     return [Math.random(), require('crypto').randomBytes(8).toString('hex')]",
    "import os, random, socket, subprocess, sys, threading, time\n\
     for place in ('/tmp', '/workspace', '/dev/shm'): open(place + '/left', 'w').write('x')\n\
     global left\nleft = 1; os.environ['LEFT'] = '1'; sys.left = 1; sys.path.append('/left')\n\
     open('/workspace/left4141.py', 'w').write('x = 1')\nimport left4141\n\
     threading.Thread(target=time.sleep, args=(60,)).start()\n\
     s = socket.socket(socket.AF_UNIX); s.bind('\\0left4141'); s.listen()\n\
     subprocess.Popen(['sleep', '4141'], start_new_session=True)\n\
     return [random.random(), os.urandom(8).hex()]",
);

/// Names every trace that it finds, and tells its random numbers.
const LOOK: Both<'_> = (
    "const fs = require('fs'); const found = []; \
     for (const dir of ['/tmp', '/workspace', '/dev/shm']) found.push(...fs.readdirSync(dir)); \
     for (const name of ['left', 'LEFT']) if (name in globalThis || name in process.env || name in {}) found.push(name); \
     if (Object.keys(require.cache).length > 0) found.push('modules'); \
     if (process.getActiveResourcesInfo().includes('Timeout')) found.push('timers'); \
     for (const pid of fs.readdirSync('/proc').filter((it) => /^[0-9]+$/.test(it))) \
       for (const file of ['cmdline', 'comm']) if (fs.readFileSync(`/proc/${pid}/${file}`, 'utf8').includes('4141')) found.push(pid); \
     if (fs.readFileSync('/proc/net/unix', 'utf8').includes('left4141')) found.push('socket'); \
     return [found, Math.random(), require('crypto').randomBytes(8).toString('hex')]",
    "import os, random, sys, threading\nfound = []\n\
     for place in ('/tmp', '/workspace', '/dev/shm'): found += os.listdir(place)\n\
     if 'left' in globals() or 'LEFT' in os.environ or hasattr(sys, 'left') or '/left' in sys.path: found.append('names')\n\
     if 'left4141' in sys.modules: found.append('modules')\n\
     if threading.active_count() > 1: found.append('threads')\n\
     for pid in filter(str.isdigit, os.listdir('/proc')):\n  \
       for file in ('cmdline', 'comm'):\n    if b'4141' in open(f'/proc/{pid}/{file}', 'rb').read(): found.append(pid)\n\
     if 'left4141' in open('/proc/net/unix').read(): found.append('socket')\n\
     return [found, random.random(), os.urandom(8).hex()]",
);

/// The engine with one sandbox that waits, and no more than one in the making.
async fn single(runtime: Runtime) -> (Rig, Spoken) {
    let image = if runtime == Runtime::Python {
        PYTHON_IMAGE
    } else {
        IMAGE
    };
    let rig = Rig::with(DockerEngineSettings {
        pool_size: 1,
        creating: 1,
        allowed_images: vec![image.to_owned()],
        ..settings()
    })
    .await;
    let engine = std::sync::Arc::clone(&rig.engine);
    (rig, Spoken { engine, runtime })
}

async fn nothing_is_found(runtime: Runtime) {
    let (rig, it) = single(runtime).await;
    let mut numbers: Vec<Value> = Vec::new();
    for _ in 0..3 {
        let left = it.run(LEAVE).await.value().unwrap();
        let looked = it.run(LOOK).await.value().unwrap();
        assert_eq!(looked[0], json!([]), "one after the other");
        numbers.extend([&left[0], &left[1], &looked[1], &looked[2]].map(Clone::clone));
    }
    let together = (0..6).map(|n| it.run(if n % 2 == 0 { LEAVE } else { LOOK }));
    for (n, ended) in join_all(together).await.iter().enumerate() {
        let value = ended.value().unwrap();
        if n % 2 == 1 {
            assert_eq!(value[0], json!([]), "side by side");
            numbers.extend([value[1].clone(), value[2].clone()]);
        } else {
            numbers.extend([value[0].clone(), value[1].clone()]);
        }
    }
    for (at, number) in numbers.iter().enumerate() {
        assert!(!numbers[at + 1..].contains(number), "80: {numbers:?}");
    }
    idle(&rig.engine).await;
    rig.close().await;
}

/// 41, 80: files, variables, globals, timers, modules, processes, sockets, random numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_41_80_a_second_call_finds_nothing_of_the_first() {
    nothing_is_found(Runtime::Node).await;
}

/// 41, 80: the same in Python.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_41_80_a_second_call_finds_nothing_of_the_first_in_python() {
    nothing_is_found(Runtime::Python).await;
}
