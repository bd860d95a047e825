//! A server on this machine that speaks as much of the hub's API as a download needs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server holds and how it misbehaves.
#[derive(Default)]
pub struct Content {
    /// The files of `org/name`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Answers everything with this status.
    pub refuse: Option<u16>,
    /// Wants this token.
    pub token: Option<String>,
    /// Breaks off each of the first transfers of a file after so many bytes: the file, the bytes, how often.
    pub break_off: Option<(String, usize, usize)>,
    /// Names a digest for this file that is not its own.
    pub wrong_digest: Option<String>,
    /// Sends large files from another place, as the hub's storage does.
    pub redirects: bool,
}

/// Serves until the process ends.
pub struct Server {
    pub endpoint: String,
    /// Each request's line, and its range.
    pub seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(content: Content) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let content = Arc::new(Mutex::new(content));
        let (log, own) = (Arc::clone(&seen), endpoint.clone());
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let (content, log, own) = (Arc::clone(&content), Arc::clone(&log), own.clone());
                thread::spawn(move || answer(stream, &content, &log, &own));
            }
        });
        Self { endpoint, seen }
    }

    /// The requests whose line has `part`.
    pub fn requests(&self, part: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }
}

/// One request, which is the connection's only one.
fn answer(mut stream: TcpStream, content: &Mutex<Content>, log: &Mutex<Vec<String>>, own: &str) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let headers: BTreeMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned())))
        .collect();
    let range = headers.get("range").cloned().unwrap_or_default();
    log.lock().unwrap().push(format!("{first} {range}"));
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut content = content.lock().unwrap();
    let bearer = content.token.as_ref().map(|token| format!("Bearer {token}"));
    let reply = if let Some(status) = content.refuse {
        Reply::status(status)
    } else if bearer.is_some() && bearer.as_ref() != headers.get("authorization") && !path.starts_with("/storage/") {
        Reply::status(401)
    } else if path.starts_with("/api/models/org/name/revision/") {
        listing(&content)
    } else if let Some(file) = path.strip_prefix("/storage/") {
        contents(&mut content, file, &range, None)
    } else if let Some(file) = path.strip_prefix("/org/name/resolve/").and_then(|rest| rest.split_once('/')) {
        let elsewhere = format!("{own}/storage/{}", file.1);
        let elsewhere = content.redirects.then_some(elsewhere);
        contents(&mut content, file.1, &range, elsewhere)
    } else {
        Reply::status(404)
    };
    drop(content);
    let _ = stream.write_all(&reply.bytes()).and_then(|()| stream.flush());
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The length that is said, where the body is broken off.
    said: usize,
}

impl Reply {
    fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), said: 0 }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} .\r\nConnection: close\r\nContent-Length: {}\r\n", self.status, self.said);
        for (key, value) in &self.headers {
            write!(head, "{key}: {value}\r\n").unwrap();
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

fn listing(content: &Content) -> Reply {
    let files: Vec<String> = content.files.keys().map(|name| format!(r#"{{"rfilename":"{name}"}}"#)).collect();
    let body = format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, files.join(",")).into_bytes();
    let headers = vec![("Content-Type", "application/json".into())];
    Reply { status: 200, headers, said: body.len(), body }
}

fn contents(content: &mut Content, file: &str, range: &str, elsewhere: Option<String>) -> Reply {
    let Some(bytes) = content.files.get(file).cloned() else { return Reply::status(404) };
    let mut digest = ft_io::sha256_hex(&bytes);
    if content.wrong_digest.as_deref() == Some(file) {
        digest = ft_io::sha256_hex("other");
    }
    let mut headers = vec![("X-Repo-Commit", COMMIT.to_owned())];
    if let Some(place) = elsewhere {
        headers.extend([("X-Linked-Etag", format!("\"{digest}\"")), ("Location", place)]);
        return Reply { headers, ..Reply::status(302) };
    }
    let (start, end) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
    let start: usize = start.parse().unwrap();
    let end = end.parse().map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
    headers.extend([
        ("ETag", format!("\"{digest}\"")),
        ("Content-Range", format!("bytes {start}-{}/{}", end.saturating_sub(1), bytes.len())),
    ]);
    let mut body = bytes[start.min(end)..end].to_vec();
    let said = body.len();
    if let Some((name, keep, times)) = &mut content.break_off
        && name == file
        && *times > 0
        && said > *keep
    {
        *times -= 1;
        body.truncate(*keep);
    }
    Reply { status: 206, headers, body, said }
}
