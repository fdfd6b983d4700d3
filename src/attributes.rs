//! What a new file takes over from the one that it replaces: owner, mode and extended attributes.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;

use crate::error::found;

/// The mode of a file that replaces none.
#[cfg(unix)]
const PRIVATE: u32 = 0o600;

/// The attributes of a file, or of none.
#[derive(Debug)]
pub struct Attributes(Option<Metadata>);

impl Attributes {
    /// Those of the file at `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        found(fs::metadata(path)).map(Self)
    }
}

#[cfg(unix)]
impl Attributes {
    /// Gives `file` the owner and the group, as far as this process may.
    pub fn give_owner(&self, file: &File) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, fchown};
        let Some(original) = &self.0 else { return Ok(()) };
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (original.uid(), original.gid())
            && fchown(file, Some(original.uid()), Some(original.gid())).is_err()
        {
            // Only root may give files away. The group can often be kept, and what remains refused has to be.
            let _ = fchown(file, None, Some(original.gid()));
        }
        Ok(())
    }

    /// Gives `file` the mode, and `more`. To be done last: a write takes set-user-ID away, and a mode may forbid it.
    pub fn give_mode(&self, file: &File, more: u32) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let kept = self.0.as_ref().map_or(PRIVATE, |original| original.mode() & 0o7777);
        file.set_permissions(fs::Permissions::from_mode(kept | more))
    }

    /// Gives `file` the extended attributes of the file at `path`, access control lists among them, and no others: it
    /// may have inherited some from its folder. Those that this process may not give, or that the file system does not
    /// know, it stays without.
    pub fn give_extended(&self, file: &File, path: &Path) -> io::Result<()> {
        use xattr::FileExt;
        if self.0.is_none() {
            return Ok(());
        }
        let Some(kept) = tolerate(xattr::list(path))? else { return Ok(()) };
        let kept: Vec<_> = kept.collect();
        for name in tolerate(file.list_xattr())?.into_iter().flatten() {
            if !kept.contains(&name) {
                tolerate(file.remove_xattr(&name))?;
            }
        }
        for name in &kept {
            if let Some(value) = tolerate(xattr::get(path, name))?.flatten() {
                tolerate(file.set_xattr(name, &value))?;
            }
        }
        Ok(())
    }
}

#[cfg(unix)]
fn tolerate<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) => match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => Ok(None),
            _ => Err(e),
        },
    }
}

#[cfg(not(unix))]
impl Attributes {
    /// Owners are the folder's.
    pub fn give_owner(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    /// Gives `file` the permissions.
    pub fn give_mode(&self, file: &File, _: u32) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |original| file.set_permissions(original.permissions()))
    }

    /// There are none.
    pub fn give_extended(&self, _: &File, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
