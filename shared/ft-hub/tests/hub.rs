//! Downloads from a server of the test's own, and what the cache then gives without one.

mod server;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ft_hub::{Error, Hub};
use ft_io::progress::NoProgress;
use server::{COMMIT, Content, Server};
use tempfile::TempDir;

/// A repository with a model in two parts, a tokenizer, and what nobody needs.
fn files() -> BTreeMap<String, Vec<u8>> {
    let index = r#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    let large = |seed: usize| (0..300_000).map(|i| (i * 31 + seed) as u8).collect::<Vec<u8>>();
    [
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"a\": 1}".to_vec()),
        ("model.safetensors.index.json", index.into()),
        ("model-00001-of-00002.safetensors", large(1)),
        ("model-00002-of-00002.safetensors", large(2)),
        ("pytorch_model.bin", b"not needed".to_vec()),
        ("name.Q4_K_M.gguf", b"four bits".to_vec()),
        ("name.Q8_0.gguf", b"eight bits".to_vec()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

fn hub(cache: &TempDir, server: &Server) -> Hub {
    Hub { cache: cache.path().join("hub"), endpoint: server.endpoint.clone(), token: None, offline: false }
}

fn serve(change: impl FnOnce(&mut Content)) -> (TempDir, Server) {
    let mut content = Content { files: files(), ..Content::default() };
    change(&mut content);
    (tempfile::tempdir().unwrap(), Server::start(content))
}

fn model(hub: &Hub, name: &str) -> Result<PathBuf, Error> {
    hub.model(Path::new(name), &NoProgress)
}

fn told(hub: &Hub, name: &str) -> String {
    model(hub, name).unwrap_err().to_string()
}

fn require_whole(folder: &Path) {
    for (name, bytes) in files().iter().filter(|(name, _)| !name.ends_with("gguf") && !name.ends_with("bin")) {
        assert!(fs::read(folder.join(name)).unwrap() == *bytes, "{name}");
    }
}

#[test]
fn a_model_is_downloaded_once_and_then_found_without_a_request() {
    let (cache, server) = serve(|_| {});
    let hub = hub(&cache, &server);
    let folder = model(&hub, "org/name").unwrap();
    assert_eq!(folder, hub.cache.join("models--org--name/snapshots").join(COMMIT));
    require_whole(&folder);
    assert!(!folder.join("pytorch_model.bin").exists() && !folder.join("name.Q8_0.gguf").exists());
    assert_eq!(ft_io::hub_name(&folder).as_deref(), Some("org/name"));
    let before = server.requests("");
    assert_eq!(model(&hub, "org/name").unwrap(), folder);
    assert_eq!(model(&hub, &format!("org/name@{COMMIT}")).unwrap(), folder);
    assert_eq!(server.requests(""), before);
    let offline = Hub { offline: true, ..hub };
    assert_eq!(model(&offline, "org/name").unwrap(), folder);
    assert!(told(&offline, "org/other").contains("--offline"));
}

#[test]
fn a_gguf_file_is_named_by_its_type_or_its_path() {
    let (cache, server) = serve(|_| {});
    let hub = hub(&cache, &server);
    let file = model(&hub, "org/name:q4_k_m").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"four bits");
    assert_eq!(server.requests("safetensors"), 0);
    assert_eq!(fs::read(model(&hub, "org/name/name.Q8_0.gguf").unwrap()).unwrap(), b"eight bits");
    let told = told(&hub, "org/name:Q5_0");
    assert!(told.contains("no GGUF file of type Q5_0") && told.contains("name.Q8_0.gguf"), "{told}");
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let part = "model-00002-of-00002.safetensors";
    let (cache, server) = serve(|content| content.break_off = Some((part.into(), 100_000, 2)));
    require_whole(&model(&hub(&cache, &server), "org/name").unwrap());
    assert_eq!(server.requests("bytes=100000-"), 1, "{:?}", server.seen.lock().unwrap());
    assert_eq!(server.requests("bytes=200000-"), 1);
}

#[test]
fn a_run_goes_on_with_what_an_interrupted_one_left() {
    let part = "model-00001-of-00002.safetensors";
    let (cache, server) = serve(|content| content.break_off = Some((part.into(), 60_000, 4)));
    let hub = hub(&cache, &server);
    let told = told(&hub, "org/name");
    assert!(told.contains(part) && told.contains("run it again to go on"), "{told}");
    assert!(model(&Hub { offline: true, ..hub.clone() }, "org/name").is_err());
    require_whole(&model(&hub, "org/name").unwrap());
    assert_eq!(server.requests("bytes=240000-"), 1, "{:?}", server.seen.lock().unwrap());
}

#[test]
fn a_file_with_another_digest_is_removed_and_named() {
    let (cache, server) = serve(|content| content.wrong_digest = Some("tokenizer.json".into()));
    let hub = hub(&cache, &server);
    let told = told(&hub, "org/name");
    assert!(told.contains("tokenizer.json arrived damaged"), "{told}");
    let folder = hub.cache.join("models--org--name/snapshots").join(COMMIT);
    assert!(!folder.join("tokenizer.json").exists());
}

#[test]
fn files_come_from_where_the_hub_sends_for_them_without_the_token() {
    let (cache, server) = serve(|content| (content.redirects, content.token) = (true, Some("hf_secret".into())));
    let without = hub(&cache, &server);
    let told = told(&without, "org/name");
    assert!(told.contains("401") && told.contains("HF_TOKEN") && told.contains(&server.endpoint), "{told}");
    require_whole(&model(&Hub { token: Some("hf_secret".into()), ..without }, "org/name").unwrap());
    assert!(server.requests("/storage/config.json") > 0);
}

#[test]
fn what_is_not_there_is_said_with_what_to_do() {
    let (cache, server) = serve(|content| content.refuse = Some(404));
    let hub = hub(&cache, &server);
    let missing = told(&hub, "org/name");
    assert!(missing.contains("404") && missing.contains("no such repository"), "{missing}");
    for path in ["no-such-folder", "./org/name", "/a/b/c"] {
        let told = told(&hub, path);
        assert!(told.contains(path) && told.contains("org/name@revision"), "{told}");
    }
    let nobody = Hub { endpoint: "http://127.0.0.1:9".into(), ..hub };
    let told = told(&nobody, "org/name");
    assert!(told.contains("cannot download its list of files from http://127.0.0.1:9"), "{told}");
}

#[test]
fn two_at_once_download_once() {
    let (cache, server) = serve(|_| {});
    let hub = hub(&cache, &server);
    let folders: Vec<PathBuf> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| model(&hub, "org/name").unwrap())).collect();
        both.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(folders[0], folders[1]);
    require_whole(&folders[0]);
    assert_eq!(server.requests("/api/models/"), 1);
}
