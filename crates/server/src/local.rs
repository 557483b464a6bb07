//! Users of this host and their roles.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::{access::Role, who::Who};

/// Unix groups whose users may come in, and as what. Root and the daemon's own user may do everything.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// May look.
    pub view: Vec<String>,
    /// May move guests.
    pub operate: Vec<String>,
    /// May do all.
    pub admin: Vec<String>,
}

impl Groups {
    /// Whether somebody besides root may come in at all.
    pub fn any(&self) -> bool {
        [&self.view, &self.operate, &self.admin]
            .iter()
            .any(|groups| !groups.is_empty())
    }

    /// Who it is that the kernel names. Asks the system's user database, which may be slow: not for async threads.
    pub(crate) fn who(&self, uid: u32, gid: u32) -> Who {
        let known = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let role = match uid == 0 || uid == rustix::process::getuid().as_raw() {
            true => Some(Role::Admin),
            false => self.highest(&groups(known.as_ref(), gid)),
        };
        let user = known.map_or_else(|| uid.to_string(), |user| user.name);
        Who::Local { uid, user, role }
    }

    fn highest(&self, of: &[Gid]) -> Option<Role> {
        let member = |groups: &[String]| {
            let known = groups
                .iter()
                .filter_map(|name| Group::from_name(name).ok().flatten());
            known.into_iter().any(|group| of.contains(&group.gid))
        };
        let roles = [
            (Role::Admin, &self.admin),
            (Role::Operate, &self.operate),
            (Role::View, &self.view),
        ];
        roles
            .into_iter()
            .find(|(_, groups)| member(groups))
            .map(|(role, _)| role)
    }
}

/// Those of its user by the database, and the one that it called with. A process may have put on others since it was
/// started (`newgrp`); what it has is not asked of `/proc`, because its number may be another's by then.
fn groups(user: Option<&User>, gid: u32) -> Vec<Gid> {
    let mut all = vec![Gid::from_raw(gid)];
    let name = user.and_then(|user| CString::new(user.name.as_str()).ok());
    if let (Some(user), Some(name)) = (user, name) {
        all.extend(getgrouplist(&name, user.gid).unwrap_or_default());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users that every Linux has, and the groups that they have there.
    fn who(groups: &Groups, uid: u32, gid: u32) -> (String, Option<Role>) {
        match groups.who(uid, gid) {
            Who::Local { user, role, .. } => (user, role),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn groups_make_roles_and_nobody_else_has_one() {
        let daemon = 1;
        let other_group = 4_000_000;
        let none = Groups::default();
        assert_eq!(who(&none, 0, 0), ("root".into(), Some(Role::Admin)));
        assert_eq!(who(&none, daemon, daemon), ("daemon".into(), None));
        assert_eq!(
            who(&none, 4_000_000, 0),
            ("4000000".into(), None),
            "root's group is not root"
        );
        let some = Groups {
            view: vec!["no-such-group".into(), "daemon".into()],
            operate: vec!["bin".into()],
            admin: Vec::new(),
        };
        assert_eq!(
            who(&some, daemon, other_group).1,
            Some(Role::View),
            "by the database"
        );
        let bin = Group::from_name("bin").unwrap().unwrap().gid.as_raw();
        assert_eq!(who(&some, daemon, bin).1, Some(Role::Operate), "the higher one");
        assert_eq!(
            who(&some, 4_000_000, bin).1,
            Some(Role::Operate),
            "by the group of the call"
        );
        assert_eq!(who(&some, 4_000_000, other_group).1, None);
    }
}
