//! Local disks made durable: a store that returns from a write only when file and folder are on the disk.
//!
//! The object store crate leaves a written file to the operating system, so a commit would survive the end of the
//! process but not of the power. Deletions are not synced: what comes back after a power loss is deleted again.

use std::fmt;
use std::fs::File;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use deltalake::logstore::object_store::local::LocalFileSystem;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use futures::stream::BoxStream;

/// The local file system, with `/` as its root.
#[derive(Debug)]
pub(crate) struct SyncedStore {
    disk: Arc<LocalFileSystem>,
}

impl SyncedStore {
    pub(crate) fn new() -> Self {
        Self { disk: Arc::new(LocalFileSystem::new()) }
    }

    async fn sync(&self, location: &Path) -> Result<()> {
        let path = self.disk.path_to_filesystem(location)?;
        sync_file_and_folder(path).await
    }
}

/// Puts a file, and its name in its folder, on the disk.
async fn sync_file_and_folder(path: PathBuf) -> Result<()> {
    let synced = tokio::task::spawn_blocking(move || sync_with_folder(&path)).await;
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: "local disk", source };
    synced.map_err(|error| failed(Box::new(error)))?.map_err(|error| failed(Box::new(error)))
}

fn sync_with_folder(path: &FilePath) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Puts the names in a folder on the disk.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &FilePath) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Only Unix can sync a folder.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &FilePath) -> std::io::Result<()> {
    Ok(())
}

/// Syncs the commits of a log that a reader is about to rely on, since their writer may have died before it could.
pub(crate) fn sync_log(folder: &FilePath) -> std::io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.starts_with(|first: char| first.is_ascii_digit())) {
            files.push(name.to_owned());
        }
    }
    // Twenty digits lead each name, so names sort by version, and the last checkpoint is where readers begin.
    files.sort_unstable();
    let begin = files.iter().rposition(|name| name.contains(".checkpoint")).unwrap_or(0);
    for name in files.iter().skip(begin) {
        match File::open(folder.join(name)) {
            Ok(file) => file.sync_all()?,
            // Cleaned away by another process in the meantime.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    sync_folder(folder)
}

impl fmt::Display for SyncedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "synced {}", self.disk)
    }
}

#[async_trait]
impl ObjectStore for SyncedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let result = self.disk.put_opts(location, payload, options).await?;
        self.sync(location).await?;
        Ok(result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.disk.put_multipart_opts(location, options).await?;
        Ok(Box::new(SyncedUpload { upload, path: self.disk.path_to_filesystem(location)? }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.disk.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.disk.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.disk.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.disk.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.disk.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.disk.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.disk.copy_opts(from, to, options).await?;
        self.sync(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.disk.rename_opts(from, to, options).await?;
        self.sync(to).await
    }
}

/// A file written in parts, synced when it is whole.
#[derive(Debug)]
struct SyncedUpload {
    upload: Box<dyn MultipartUpload>,
    path: PathBuf,
}

#[async_trait]
impl MultipartUpload for SyncedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        sync_file_and_folder(self.path.clone()).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
