//! The three files become one manifest: paas.toml over app.json over Procfile, value by value.

use std::collections::BTreeSet;

use super::paas_toml::PaasToml;
use super::procfile::Procfile;
use super::{
    CrashSpec, DeploySpec, HealthSpec, Manifest, ManifestError, ProcessSpec, ReleaseSpec, SourceFiles, WEB, app_json, paas_toml,
    procfile,
};
use crate::names::{BranchName, ProcessName};

/// Takes the texts of the files; gives the manifest or the first mistake. No file at all is a valid app: the build decides.
pub fn read(files: &SourceFiles) -> Result<Manifest, ManifestError> {
    let own = files.paas_toml.as_deref().map(paas_toml::parse).transpose()?.unwrap_or_default();
    let ported = files.app_json.as_deref().map(app_json::parse).transpose()?.unwrap_or_default();
    let proc = files.procfile.as_deref().map(procfile::parse).transpose()?.unwrap_or_default();
    let web = ProcessName::parse(WEB).expect("`web` is a process name");
    if !proc.processes.is_empty() && !proc.processes.contains_key(&web) && !own.processes.contains_key(&web) {
        return Err(ManifestError::NoWeb);
    }
    let mut names: BTreeSet<&ProcessName> = own.processes.keys().chain(proc.processes.keys()).collect();
    names.insert(&web);
    let processes = names.into_iter().map(|name| (name.clone(), one_process(name, &own, &ported, &proc))).collect();

    let mut warnings = ported.warnings.clone();
    if ported.predeploy.is_some() && proc.release.is_some() {
        warnings.push("Procfile's `release` is not run, as app.json has a `predeploy` script".to_owned());
    }
    for name in ported
        .instances
        .keys()
        .filter(|name| **name != web && !own.processes.contains_key(name) && !proc.processes.contains_key(name))
    {
        warnings.push(format!("app.json: formation of `{name}` is not used, as no file says what `{name}` runs"));
    }
    let (release, deploy) = (ReleaseSpec::default(), DeploySpec::default());
    let mut env = ported.env;
    env.extend(own.env);
    Ok(Manifest {
        build: own.build,
        processes,
        release: ReleaseSpec {
            command: own.release_command.or(ported.predeploy).or(proc.release),
            timeout: own.release_timeout.unwrap_or(release.timeout),
        },
        deploy: DeploySpec {
            branch: own.branch.unwrap_or(deploy.branch),
            strategy: own.strategy.unwrap_or(deploy.strategy),
            drain: own.drain.unwrap_or(deploy.drain),
            drain_streams: own.drain_streams.unwrap_or(deploy.drain_streams),
        },
        domains: own.domains,
        http: own.http,
        crash: own.crash_files.map_or_else(CrashSpec::default, |files| CrashSpec { files }),
        env,
        warnings,
    })
}

fn one_process(name: &ProcessName, own: &PaasToml, ported: &app_json::AppJson, proc: &Procfile) -> ProcessSpec {
    let base = ProcessSpec::default();
    let health = ported.health.get(name).cloned().unwrap_or_else(HealthSpec::default);
    let command = proc.processes.get(name).cloned();
    let instances = ported.instances.get(name).copied();
    let Some(raw) = own.processes.get(name) else {
        return ProcessSpec { command, instances, health, ..base };
    };
    ProcessSpec {
        command: raw.command.clone().or(command),
        port: raw.port,
        instances: raw.instances.or(instances),
        memory: raw.memory,
        cpus: raw.cpus,
        pids: raw.pids,
        disk: raw.disk,
        switch: raw.switch.unwrap_or(base.switch),
        stop_signal: raw.stop_signal.clone().unwrap_or(base.stop_signal),
        stop_timeout: raw.stop_timeout.unwrap_or(base.stop_timeout),
        read_only: raw.read_only.unwrap_or(base.read_only),
        health: raw.health_over(health),
        liveness: raw.liveness.clone(),
    }
}

/// The folder that paas.toml says is built (`[build] path`): Procfile and app.json are looked for there first. Takes the text of
/// paas.toml at the top of the repository.
pub fn source_path(paas_toml: &str) -> Result<Option<String>, ManifestError> {
    Ok(paas_toml::parse(paas_toml)?.build.path)
}

/// The branch that paas.toml says is deployed (`[deploy] branch`), for a push that is not read as a whole yet.
pub fn deploy_branch(paas_toml: &str) -> Result<Option<BranchName>, ManifestError> {
    Ok(paas_toml::parse(paas_toml)?.branch)
}
