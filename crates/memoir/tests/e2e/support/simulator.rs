//! `memoir simulate-endpoint` under way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

use super::process::Outcome;
use super::workspace::Workspace;

/// Dropping it kills it.
pub struct Simulator {
    child: Child,
    address: String,
    stderr: Option<JoinHandle<String>>,
}

impl Simulator {
    /// Starts one with a script, and waits until it listens.
    #[track_caller]
    pub fn start(workspace: &Workspace, script: &str) -> Self {
        workspace.write("script.toml", script);
        let mut command = workspace.command(&["simulate-endpoint", "--script", "script.toml"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap_or_else(|| panic!("no address: {line:?}")).to_owned();
        Self { child, address, stderr: Some(stderr) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A command with this endpoint as its workspace's, and no credentials.
    pub fn command(&self, workspace: &Workspace, settings: &[&str]) -> Command {
        let mut arguments = Workspace::over_files("available-now", "chat.ndjson", settings);
        arguments.extend(["--set".to_owned(), "extractor.endpoint=simulated".to_owned()]);
        let mut command = workspace.command(&arguments);
        command.env("DATABRICKS_HOST", self.url());
        command
    }

    /// A whole answer to a request without a body, headers and all.
    pub fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.address))
    }

    pub fn post(&self, path: &str, body: &str) -> String {
        let length = body.len();
        self.send(&format!("POST {path} HTTP/1.0\r\nhost: {}\r\ncontent-length: {length}\r\n\r\n{body}", self.address))
    }

    fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[track_caller]
    pub fn stats(&self) -> Value {
        let answer = self.get("/stats");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Stops it as an operator does.
    pub fn stop(mut self) -> Outcome {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        Outcome { status, stdout: String::new(), stderr: self.stderr.take().unwrap().join().unwrap() }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
