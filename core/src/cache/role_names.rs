//! The role names that were looked up with management tokens.

use std::collections::HashMap;

use crate::{postgres::role_name::Principal, runtime::ForkShared};

type Names = HashMap<(String, String), Option<String>>;

/// Role names from management tokens by (tenant, object id), for the life of the process. `None`: it names nobody.
static NAMES: ForkShared<Names> = ForkShared::new();

/// What the management token of a principal was found to say, if it was asked before.
pub(crate) fn remembered_name(principal: &Principal) -> Option<Option<String>> {
    NAMES.load().get(&(principal.tid.clone()?, principal.oid.clone()?)).cloned()
}

/// Remembers what the management token of a principal says.
pub(crate) fn remember_name(principal: &Principal, name: Option<&str>) {
    if let (Some(tid), Some(oid)) = (&principal.tid, &principal.oid) {
        NAMES.rcu(|names| {
            let mut next = Names::clone(names);
            // A name is short, but a service that acts for its users sees many.
            if next.len() >= 100_000 {
                next.clear();
            }
            next.insert((tid.clone(), oid.clone()), name.map(str::to_owned));
            next
        });
    }
}
