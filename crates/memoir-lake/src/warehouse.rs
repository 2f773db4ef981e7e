//! Where tables are: `<uri>/<catalog>/<schema>/<table>` on a local disk or in an object store.

use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Once};

use deltalake::logstore::object_store::{self, ObjectStore, path::Path};
use deltalake::logstore::{LogStoreRef, ObjectStoreRef};
use deltalake::{DeltaTable, DeltaTableBuilder};
use futures::StreamExt as _;
use tokio::runtime::Handle;
use url::Url;

use crate::error::LakeError;
use crate::storage::{SyncedStore, sync_log};

/// A folder of tables. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Warehouse {
    place: Arc<Place>,
    runtime: Handle,
}

#[derive(Debug)]
struct Place {
    uri: String,
    catalog: String,
    schema: String,
    /// The folder that holds the tables.
    root: Url,
    /// The same on a local disk.
    folder: Option<PathBuf>,
    /// What all tables are read from and written to, with `/` as its root; `None` where each table has its own.
    store: Option<ObjectStoreRef>,
}

impl Warehouse {
    /// Names a warehouse; nothing is read or created. `uri` is a folder (a relative one is taken from the current
    /// folder), a `file://` URL, or the URI of an object store: `s3://`, `abfss://`, `gs://`, with credentials and
    /// end points from the environment. The runtime must have worker threads.
    ///
    /// # Errors
    /// When the URI can't be a place for tables.
    pub fn new(uri: &str, catalog: &str, schema: &str, runtime: Handle) -> Result<Self, LakeError> {
        register_object_stores();
        let bad = |reason: String| LakeError::BadLocation { uri: uri.to_owned(), reason };
        match Url::parse(uri).ok().filter(|_| uri.contains("://")) {
            Some(url) if url.scheme() != "file" => {
                let scheme = Url::parse(&format!("{}://", url.scheme())).map_err(|error| bad(error.to_string()))?;
                if !deltalake::logstore::object_store_factories().contains_key(&scheme) {
                    return Err(bad(format!("there is no object store {}://", url.scheme())));
                }
                Self::at(uri, url, None, catalog, schema, None, runtime)
            }
            url => {
                let folder = match url {
                    Some(url) => url.to_file_path().map_err(|()| bad("no path of this machine".to_owned()))?,
                    None => std::path::absolute(uri).map_err(|error| bad(error.to_string()))?,
                };
                let url = Url::from_directory_path(&folder).map_err(|()| bad("no absolute path".to_owned()))?;
                let store: ObjectStoreRef = Arc::new(SyncedStore::new());
                Self::at(uri, url, Some(folder), catalog, schema, Some(store), runtime)
            }
        }
    }

    /// The same warehouse on a store of the caller's, which `wrap` makes of its own: for tests and simulations.
    ///
    /// # Errors
    /// As for [`Warehouse::new`], and for object stores.
    pub fn with_store(
        uri: &str,
        catalog: &str,
        schema: &str,
        runtime: Handle,
        wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Result<Self, LakeError> {
        let warehouse = Self::new(uri, catalog, schema, runtime)?;
        let Some(store) = warehouse.place.store.clone() else {
            let reason = "only the store of a local disk can be replaced".to_owned();
            return Err(LakeError::BadLocation { uri: uri.to_owned(), reason });
        };
        let place = Place {
            uri: uri.to_owned(),
            catalog: catalog.to_owned(),
            schema: schema.to_owned(),
            root: warehouse.place.root.clone(),
            folder: warehouse.place.folder.clone(),
            store: Some(wrap(store)),
        };
        Ok(Self { place: Arc::new(place), runtime: warehouse.runtime })
    }

    fn at(
        uri: &str,
        mut root: Url,
        folder: Option<PathBuf>,
        catalog: &str,
        schema: &str,
        store: Option<ObjectStoreRef>,
        runtime: Handle,
    ) -> Result<Self, LakeError> {
        for name in [catalog, schema] {
            if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\']) {
                let reason = format!("{name:?} can't be the name of a catalog or schema");
                return Err(LakeError::BadLocation { uri: uri.to_owned(), reason });
            }
        }
        let folder = folder.map(|folder| folder.join(catalog).join(schema));
        match root.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend([catalog, schema]);
            }
            Err(()) => {
                let reason = "it has no path".to_owned();
                return Err(LakeError::BadLocation { uri: uri.to_owned(), reason });
            }
        }
        let place =
            Place { uri: uri.to_owned(), catalog: catalog.to_owned(), schema: schema.to_owned(), root, folder, store };
        Ok(Self { place: Arc::new(place), runtime })
    }

    /// As it was given.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.place.uri
    }

    #[must_use]
    pub fn catalog(&self) -> &str {
        &self.place.catalog
    }

    #[must_use]
    pub fn schema(&self) -> &str {
        &self.place.schema
    }

    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Waits for a table operation. Never call it from a worker thread of the runtime.
    pub fn block_on<F: Future>(&self, operation: F) -> F::Output {
        self.runtime.block_on(operation)
    }

    /// Where a table is, for people: a path on a local disk, else a URI.
    #[must_use]
    pub fn table_path(&self, table: &str) -> String {
        match self.table_folder(table) {
            Some(folder) => folder.display().to_string(),
            None => self.table_url(table).map_or_else(|_| table.to_owned(), |url| url.to_string()),
        }
    }

    /// Where a table is on a local disk.
    #[must_use]
    pub fn table_folder(&self, table: &str) -> Option<PathBuf> {
        self.place.folder.as_deref().map(|folder| folder.join(table))
    }

    fn table_url(&self, table: &str) -> Result<Url, LakeError> {
        let mut url = self.place.root.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.push(table);
            }
            Err(()) => {
                let reason = "it has no path".to_owned();
                return Err(LakeError::BadLocation { uri: self.place.uri.clone(), reason });
            }
        }
        Ok(url)
    }

    pub(crate) fn log_store(&self, table: &str) -> Result<LogStoreRef, LakeError> {
        let url = self.table_url(table)?;
        let failed = |error| LakeError::delta(self.table_path(table), "reach the storage of", error);
        let builder = DeltaTableBuilder::from_url(url.clone()).map_err(failed)?;
        let builder = match &self.place.store {
            Some(store) => builder.with_storage_backend(Arc::clone(store), url),
            None => builder,
        };
        builder.build_storage().map_err(failed)
    }

    /// Opens a table at its latest version.
    pub(crate) async fn open_table(&self, name: &str) -> Result<DeltaTable, LakeError> {
        let mut table = DeltaTable::new(self.log_store(name)?);
        let Err(first) = table.load().await else { return Ok(table) };
        match self.look_for_table(name).await? {
            Found::Nothing => Err(LakeError::TableMissing { table: self.table_path(name) }),
            Found::Other(found) => Err(LakeError::NotADeltaTable { table: self.table_path(name), found }),
            Found::Table => {
                // Perhaps it was created in between.
                tracing::debug!(table = %self.table_path(name), error = %first, "reading its log once more");
                let again = table.load().await;
                again.map_err(|error| LakeError::delta(self.table_path(name), "read the log of", error))?;
                Ok(table)
            }
        }
    }

    /// Makes sure that what a writer is about to rely on survives a power loss.
    pub(crate) async fn sync_log(&self, name: &str) -> Result<(), LakeError> {
        let Some(folder) = self.table_folder(name).map(|folder| folder.join("_delta_log")) else { return Ok(()) };
        let path = folder.display().to_string();
        let failed = |source| LakeError::Io { path: path.clone(), doing: "sync", source };
        let synced = tokio::task::spawn_blocking(move || sync_log(&folder)).await;
        synced.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed)
    }

    /// Whether a table is there.
    ///
    /// # Errors
    /// When the place can't be looked at, or holds something else.
    pub async fn has_table(&self, name: &str) -> Result<bool, LakeError> {
        match self.look_for_table(name).await? {
            Found::Table => Ok(true),
            Found::Nothing => Ok(false),
            Found::Other(found) => Err(LakeError::NotADeltaTable { table: self.table_path(name), found }),
        }
    }

    async fn look_for_table(&self, name: &str) -> Result<Found, LakeError> {
        let store = self.log_store(name)?;
        let failed = |error| LakeError::delta(self.table_path(name), "look at", error);
        if store.is_delta_table_location().await.map_err(failed)? {
            return Ok(Found::Table);
        }
        if let Some(folder) = self.table_folder(name)
            && let Err(error) = readable(&folder)
        {
            return Err(failed(object_store::Error::Generic { store: "local disk", source: Box::new(error) }.into()));
        }
        let first = store.object_store(None).list(None).next().await;
        match first {
            None | Some(Err(object_store::Error::NotFound { .. })) => Ok(Found::Nothing),
            // Created since the first look.
            Some(Ok(_)) if store.is_delta_table_location().await.map_err(failed)? => Ok(Found::Table),
            Some(Ok(file)) => Ok(Found::Other(file.location.to_string())),
            Some(Err(error)) => Err(failed(error.into())),
        }
    }

    /// The names of the tables that are there, sorted.
    ///
    /// # Errors
    /// When the place can't be looked at.
    pub async fn tables(&self) -> Result<Vec<String>, LakeError> {
        let path = self.table_path("");
        // Any name will do to reach the storage: what is above the table's folder is asked for.
        let store = self.log_store("conversation_events")?;
        let failed = |error: object_store::Error| LakeError::delta(path.clone(), "list the tables in", error);
        let prefix = Path::from_url_path(self.place.root.path()).map_err(|error| failed(error.into()))?;
        if let Some(folder) = &self.place.folder
            && let Err(error) = readable(folder)
        {
            return Err(failed(object_store::Error::Generic { store: "local disk", source: Box::new(error) }));
        }
        let listed = match store.root_object_store(None).list_with_delimiter(Some(&prefix)).await {
            Ok(listed) => listed,
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for folder in listed.common_prefixes {
            let Some(name) = folder.filename() else { continue };
            if matches!(self.look_for_table(name).await, Ok(Found::Table)) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// What stands where a table should be.
enum Found {
    Table,
    Nothing,
    /// The first file that was seen.
    Other(String),
}

/// The store lists a folder that it may not read as an empty one, so it is tried first.
fn readable(folder: &FilePath) -> std::io::Result<()> {
    match std::fs::read_dir(folder) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn register_object_stores() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        deltalake::aws::register_handlers(None);
        deltalake::azure::register_handlers(None);
        deltalake::gcp::register_handlers(None);
    });
}
