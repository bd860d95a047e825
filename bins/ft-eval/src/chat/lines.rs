//! Lines from a person or a pipe.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result};
use ft_io::interrupt;

/// How often a wait looks whether a signal came.
const TICK: Duration = Duration::from_millis(50);

/// The lines of standard input. They are read by a thread of their own, for a read does not end at a signal.
pub struct Lines {
    received: Receiver<std::io::Result<String>>,
    /// What a person sees before a line.
    mark: Option<&'static str>,
}

impl Lines {
    pub fn of_stdin() -> Self {
        let (sender, received) = sync_channel(0);
        std::thread::spawn(move || {
            for line in std::io::stdin().lines() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let is_person = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Self { received, mark: is_person.then_some("> ") }
    }

    /// The next line; none at the end.
    pub fn next(&mut self) -> Result<Option<String>> {
        if let Some(mark) = self.mark {
            let mut err = std::io::stderr();
            // Without the mark there is still the conversation.
            let _ = err.write_all(mark.as_bytes()).and_then(|()| err.flush());
        }
        loop {
            match self.received.recv_timeout(TICK) {
                Ok(line) => return line.map(Some).context("cannot read standard input"),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => interrupt::check()?,
            }
        }
    }
}
