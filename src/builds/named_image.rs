//! Which images of the engine an app's own manifest may name: who may only push must not come to run what another app's build made.

use crate::docker::ImageInfo;
use crate::names::AppName;

/// Whether the image has a name that is not another app's. Each image that an app runs gets a name of ours too, so one from a registry may
/// have many of them; what a build made has no other. An image without any name may be what is left of one.
pub fn may_run(image: &ImageInfo, prefix: &str, app: &AppName) -> bool {
    let names = image.tags.iter().chain(&image.digests);
    // `<none>` is what engines write where there is no name.
    names.filter(|name| !name.starts_with('<')).any(|name| match name.strip_prefix(prefix) {
        None => true,
        Some(ours) => ours.strip_prefix(app.as_str()).is_some_and(|rest| rest.starts_with([':', '@'])),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_may_name_what_others_have_a_name_for_and_no_other_apps_build() {
        let own = |names: &[&str]| {
            let (digests, tags): (Vec<_>, Vec<_>) = names.iter().map(|n| (*n).to_owned()).partition(|n| n.contains('@'));
            let image = ImageInfo { tags, digests, ..ImageInfo::default() };
            may_run(&image, "paas-1234abcd/", &AppName::parse("shop").expect("valid"))
        };
        assert!(own(&["nginx:1.27"]));
        assert!(own(&["nginx:1.27", "paas-1234abcd/other:d3"]), "another app runs it too");
        assert!(own(&["paas-1234abcd/other:d3", "nginx@sha256:00"]), "its tag has gone on to a newer one");
        assert!(own(&["paas-1234abcd/shop:d1"]));
        assert!(own(&["paas-1234abcd/other:d3", "paas-1234abcd/shop:d1"]), "it is its own too");
        assert!(!own(&["paas-1234abcd/other:d3"]));
        assert!(!own(&["paas-1234abcd/other:d3", "paas-1234abcd/other@sha256:00"]), "some engines make a digest of each name");
        assert!(!own(&["paas-1234abcd/shop-admin:d1"]));
        assert!(!own(&["<none>:<none>", "<none>@<none>"]) && !own(&[]), "what is left of a build");
    }
}
