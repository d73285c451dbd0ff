//! A receiver of OTLP that keeps every byte of what it is sent: bare HTTP/2 that answers each request
//! with gRPC's `OK`.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What a client says first.
const PREFACE: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

pub(super) struct Receiver {
    pub(super) endpoint: String,
    kept: Arc<Mutex<Vec<u8>>>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::<Mutex<Vec<u8>>>::default();
        let mut tasks = JoinSet::new();
        let keep = Arc::clone(&kept);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let keep = Arc::clone(&keep);
                connections.spawn(async move { drop(serve(stream, &keep).await) });
            }
        });
        Self {
            endpoint,
            kept,
            _tasks: tasks,
        }
    }

    /// Every body so far.
    pub(super) fn bodies(&self) -> Vec<u8> {
        self.kept.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, kept: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut preface = [0; PREFACE];
    stream.read_exact(&mut preface).await?;
    // Room for streams and for the connection, so that nobody waits.
    let large = 0x3fff_ffff_u32.to_be_bytes();
    let window = [&[0, 4][..], &large].concat();
    write(&mut stream, SETTINGS, 0, 0, &window).await?;
    write(&mut stream, WINDOW_UPDATE, 0, 0, &large).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & 1 == 0 => write(&mut stream, SETTINGS, 1, 0, &[]).await?,
            PING if flags & 1 == 0 => write(&mut stream, PING, 1, 0, &payload).await?,
            DATA => {
                kept.lock().unwrap().extend_from_slice(&payload);
                if flags & 1 == 1 {
                    answer(&mut stream, id).await?;
                }
            }
            _ => {}
        }
    }
}

async fn answer(stream: &mut TcpStream, id: u32) -> std::io::Result<()> {
    let literal = |name: &str, value: &str| {
        let length = |text: &str| u8::try_from(text.len()).unwrap();
        let (name_length, value_length) = (length(name), length(value));
        let name = [&[0, name_length][..], name.as_bytes()].concat();
        [name, vec![value_length], value.as_bytes().to_vec()].concat()
    };
    let head = [vec![0x88], literal("content-type", "application/grpc")].concat();
    write(stream, HEADERS, 4, id, &head).await?;
    write(stream, DATA, 0, id, &[0; 5]).await?;
    write(stream, HEADERS, 5, id, &literal("grpc-status", "0")).await
}

async fn write(
    stream: &mut TcpStream,
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &id.to_be_bytes()].concat();
    stream.write_all(&[head, payload.to_vec()].concat()).await
}
