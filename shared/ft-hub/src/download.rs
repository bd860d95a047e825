//! From the hub into the cache.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use ft_io::interrupt;
use ft_io::progress::{Progress, ProgressBar};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::lock::lock;
use crate::name::Name;
use crate::{cache, digest, files};

/// How often a transfer that broke off is gone on with.
const RETRIES: usize = 3;
/// How often it is seen whether a signal came.
const GLANCE: Duration = Duration::from_millis(100);

/// Downloads the files that a model needs, those that the cache lacks. One process at a time does so for a repository;
/// the others wait, and find it there.
///
/// # Errors
/// If the hub refuses, cannot be reached, or sends something else; if the cache cannot be written.
pub(crate) fn model(hub: &Hub, name: &Name, progress: &dyn Progress) -> Result<PathBuf> {
    let _lock = lock(&cache::repository(&hub.cache, name))?;
    if let Some(found) = cache::find(&hub.cache, name) {
        return Ok(found);
    }
    tracing::info!("downloading {name} from {} into '{}'", hub.endpoint, hub.cache.display());
    let transfer = Transfer::new(hub, name)?;
    let (commit, all) = transfer.list()?;
    let snapshot = transfer.cache.repo(transfer.repo.clone()).pointer_path(&commit);
    for file in files::needed(name, &all)? {
        if !snapshot.join(&file).is_file() {
            transfer.fetch(&file, progress)?;
        }
    }
    let what = || "no whole model, though all of its files were fetched".to_owned();
    cache::find(&hub.cache, name).ok_or_else(|| Error::NoFile { name: name.to_string(), what: what() })
}

/// One repository, and the way to it.
struct Transfer<'a> {
    hub: &'a Hub,
    name: &'a Name,
    cache: Cache,
    repo: Repo,
    api: Api,
}

impl<'a> Transfer<'a> {
    fn new(hub: &'a Hub, name: &'a Name) -> Result<Self> {
        let cache = Cache::new(hub.cache.clone());
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(hub.endpoint.clone())
            .with_token(hub.token.clone())
            .with_retries(RETRIES)
            .with_progress(false)
            .build();
        let repo = Repo::with_revision(name.repository.clone(), RepoType::Model, name.revision.clone());
        let api = api.map_err(|error| failed(hub, name, "anything", &error))?;
        Ok(Self { hub, name, cache, repo, api })
    }

    /// The commit that the revision names, and its files.
    fn list(&self) -> Result<(String, Vec<String>)> {
        let (sender, receiver) = channel();
        let repo = self.api.repo(self.repo.clone());
        thread::spawn(move || sender.send(Event::Done(repo.info())));
        let info = watch(&receiver, None)?.map_err(|error| failed(self.hub, self.name, "its list of files", &error))?;
        Ok((info.sha, info.siblings.into_iter().map(|file| file.rfilename).collect()))
    }

    /// Fetches one file and holds it against its digest.
    fn fetch(&self, file: &str, progress: &dyn Progress) -> Result<()> {
        let (sender, receiver) = channel();
        let (repo, asked) = (self.api.repo(self.repo.clone()), file.to_owned());
        thread::spawn(move || {
            let done = repo.download_with_progress(&asked, Reporter(sender.clone()));
            sender.send(Event::Done(done))
        });
        let path = watch(&receiver, Some(progress))?.map_err(|error| failed(self.hub, self.name, file, &error))?;
        let unreadable = |source| Error::Cache { path: path.clone(), source };
        let blob = fs::canonicalize(&path).map_err(unreadable)?;
        if digest::is_as_named(&blob).map_err(unreadable)? == Some(false) {
            fs::remove_file(&blob).and_then(|()| fs::remove_file(&path)).map_err(unreadable)?;
            return Err(Error::Digest { name: self.name.to_string(), file: file.into() });
        }
        Ok(())
    }
}

/// What the thread of a request tells.
enum Event<T> {
    /// So many bytes will come.
    Begin(u64),
    /// So many more have come.
    More(u64),
    Done(std::result::Result<T, ApiError>),
}

/// Hands a transfer's progress to the thread that waits for it.
struct Reporter(Sender<Event<PathBuf>>);

impl hf_hub::api::Progress for Reporter {
    fn init(&mut self, size: usize, _: &str) {
        // Whoever waited may have gone, after a signal.
        let _ = self.0.send(Event::Begin(size as u64));
    }

    fn update(&mut self, size: usize) {
        let _ = self.0.send(Event::More(size as u64));
    }

    fn finish(&mut self) {}
}

/// Waits for a request's thread, draws its progress, and ends at a signal: the thread then ends with the process.
fn watch<T>(events: &Receiver<Event<T>>, progress: Option<&dyn Progress>) -> Result<std::result::Result<T, ApiError>> {
    let mut bar: Option<Box<dyn ProgressBar>> = None;
    loop {
        interrupt::check()?;
        match events.recv_timeout(GLANCE) {
            Ok(Event::Begin(bytes)) => bar = progress.map(|progress| progress.begin("downloading", bytes)),
            Ok(Event::More(bytes)) => bar.iter().for_each(|bar| bar.advance(bytes)),
            Ok(Event::Done(done)) => return Ok(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let ended = std::io::Error::other("the transfer's thread ended before its work was done");
                return Ok(Err(ApiError::IoError(ended)));
            }
        }
    }
}

/// What the hub's refusal, or the network's, means for a user.
fn failed(hub: &Hub, name: &Name, file: &str, error: &ApiError) -> Error {
    let endpoint = hub.endpoint.clone();
    match status(error) {
        Some(status) => {
            Error::Status { name: name.to_string(), status, url: endpoint, file: file.into(), advice: advice(status) }
        }
        None => Error::Transfer { name: name.to_string(), file: file.into(), endpoint, reason: error.to_string() },
    }
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        ApiError::TooManyRetries(error) => status(error),
        _ => None,
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "it does not exist, or wants a token: accept its licence on the hub's page and set HF_TOKEN, or name another"
        }
        404 => "there is no such repository, revision or file; see the name, or give a model's folder",
        429 => "too many requests; wait, or set HF_TOKEN",
        _ => "try again later, or give a model's folder",
    }
}
