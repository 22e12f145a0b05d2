//! Networks: one per app, with a subnet that paas allots.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::models as m;
use bollard::query_parameters as q;

use super::client::{CHANGE_LIMIT, Docker, READ_LIMIT};
use super::error::DockerError;
use super::labels;
use crate::base::cidr::Cidr;

/// A bridge network of ours.
#[derive(Debug, Clone)]
pub struct NetworkSpec {
    /// Deterministic, starts with [`Docker::name_prefix`].
    pub name: String,
    /// "10.213.4.0/24"
    pub subnet4: String,
    /// "10.213.4.1"
    pub gateway4: String,
    /// "fd…::/64"
    pub subnet6: Option<String>,
    pub app: String,
}

impl Docker {
    /// Makes the network, or adopts ours of that name; gives its id. Re-runnable.
    /// Errors: SubnetTaken = another network, or a route of this host, has (part of) the subnet; Conflict = the name is somebody else's, or ours with another subnet.
    pub async fn ensure_network(&self, spec: &NetworkSpec) -> Result<String, DockerError> {
        let _alone = self.network_lock().lock().await;
        if let Some(id) = self.network_of_ours(spec).await? {
            return Ok(id);
        }
        let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        if let Some(interface) = Cidr::parse(&spec.subnet4).ok().and_then(|subnet| taken_by(&routes, &subnet)) {
            return Err(DockerError::SubnetTaken(format!("a route by {interface} of this host")));
        }
        let body = request(spec, self.install());
        let act = format!("creating network {}", spec.name);
        match self.call(&act, CHANGE_LIMIT, |c| async move { c.create_network(body).await }).await {
            Ok(made) => Ok(made.id),
            // Forbidden is how the engine says "pool overlaps with other one on this address space".
            Err(DockerError::Api { status: 403, message, .. }) => Err(DockerError::SubnetTaken(message)),
            Err(DockerError::Conflict(why)) => self.network_of_ours(spec).await?.ok_or(DockerError::Conflict(why)),
            Err(other) => Err(other),
        }
    }

    /// Connects a container to a network by name; one that is in it already is fine.
    pub async fn connect(&self, network: &str, container: &str) -> Result<(), DockerError> {
        let act = format!("connecting container {container} to network {network}");
        let body = m::NetworkConnectRequest { container: container.to_owned(), endpoint_config: None };
        match self.call(&act, CHANGE_LIMIT, |c| async move { c.connect_network(network, body).await }).await {
            // Forbidden: "endpoint with name … already exists in network …".
            Err(DockerError::Api { status: 403, message, .. }) if message.contains("already exists") => Ok(()),
            done => done,
        }
    }

    /// Removes a network by name if it is ours; a missing one is fine. Conflict or Api 403 = containers are still in it.
    pub async fn remove_network(&self, name: &str) -> Result<(), DockerError> {
        let Some(found) = self.look_at_network(name).await? else { return Ok(()) };
        if !self.owns(&found) {
            return Err(DockerError::Conflict(format!("network {name} is not ours")));
        }
        let act = format!("removing network {name}");
        let id = found.id.unwrap_or_else(|| name.to_owned());
        match self.call(&act, CHANGE_LIMIT, |c| async move { c.remove_network(&id).await }).await {
            Ok(()) | Err(DockerError::NotFound(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// The names of all networks that carry our label and a name of ours. Cancel-safe: yes, reads only.
    pub async fn list_our_networks(&self) -> Result<Vec<String>, DockerError> {
        let filters = HashMap::from([("label", vec![format!("{}={}", labels::INSTALL, self.install())])]);
        let options = q::ListNetworksOptionsBuilder::new().filters(&filters).build();
        let listed = self.call("listing networks", READ_LIMIT, |c| async move { c.list_networks(Some(options)).await }).await?;
        let prefix = self.name_prefix();
        Ok(listed.into_iter().filter_map(|n| n.name).filter(|n| n.starts_with(&prefix)).collect())
    }

    async fn network_of_ours(&self, spec: &NetworkSpec) -> Result<Option<String>, DockerError> {
        let Some(found) = self.look_at_network(&spec.name).await? else { return Ok(None) };
        let same_subnet = subnets(&found).contains(&spec.subnet4);
        match found.id.clone() {
            Some(id) if self.owns(&found) && same_subnet => Ok(Some(id)),
            _ if self.owns(&found) => Err(DockerError::Conflict(format!("network {} exists with another subnet", spec.name))),
            _ => Err(DockerError::Conflict(format!("network {} exists and is not ours", spec.name))),
        }
    }

    async fn look_at_network(&self, name: &str) -> Result<Option<m::NetworkInspect>, DockerError> {
        let act = format!("inspecting network {name}");
        match self
            .call(&act, READ_LIMIT, |c| async move { c.inspect_network(name, None::<q::InspectNetworkOptions>).await })
            .await
        {
            // The engine also matches by id prefix; a name is what was asked.
            Ok(found) => Ok(Some(found).filter(|n| n.name.as_deref() == Some(name))),
            Err(DockerError::NotFound(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    fn owns(&self, found: &m::NetworkInspect) -> bool {
        found.labels.as_ref().and_then(|l| l.get(labels::INSTALL)).map(String::as_str) == Some(self.install())
    }
}

/// The interface that this host has a route to `subnet`, or to a part of it, by. `routes`: /proc/net/route, see proc_net_route of proc(5).
/// The engine asks only its own networks: a tunnel may have it, or the bridge of a network that the engine has lost, and of two interfaces
/// for one subnet one gets the other's packets.
fn taken_by(routes: &str, subnet: &Cidr) -> Option<String> {
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let interface = fields.next()?;
        // Hexadecimal, of the address as it lies in memory.
        let destination = u32::from_str_radix(fields.next()?, 16).ok()?;
        let address = Ipv4Addr::from(destination.to_ne_bytes());
        subnet.contains(address.into()).then(|| interface.to_owned())
    })
}

fn subnets(found: &m::NetworkInspect) -> Vec<String> {
    let config = found.ipam.as_ref().and_then(|ipam| ipam.config.clone()).unwrap_or_default();
    config.into_iter().filter_map(|c| c.subnet).collect()
}

fn request(spec: &NetworkSpec, install: &str) -> m::NetworkCreateRequest {
    let mut config =
        vec![m::IpamConfig { subnet: Some(spec.subnet4.clone()), gateway: Some(spec.gateway4.clone()), ..Default::default() }];
    if let Some(subnet6) = &spec.subnet6 {
        config.push(m::IpamConfig { subnet: Some(subnet6.clone()), ..Default::default() });
    }
    m::NetworkCreateRequest {
        name: spec.name.clone(),
        driver: Some("bridge".to_owned()),
        enable_ipv6: Some(spec.subnet6.is_some()),
        ipam: Some(m::Ipam { driver: Some("default".to_owned()), config: Some(config), options: None }),
        labels: Some(HashMap::from([
            (labels::INSTALL.to_owned(), install.to_owned()),
            (labels::APP.to_owned(), spec.app.clone()),
        ])),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn a_subnet_that_this_host_has_a_route_to_is_taken() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                      eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                      br-0fae1397\t4001630A\t00000000\t0001\t0\t0\t0\tC0FFFFFF\t0\t0\t0\n\
                      wg0\t8501630A\t00000000\t0001\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n\
                      wg1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n";
        let by = |subnet: &str| taken_by(routes, &Cidr::parse(subnet).expect("a subnet"));
        assert_eq!(by("10.99.1.64/26").as_deref(), Some("br-0fae1397"));
        assert_eq!(by("10.99.1.128/26").as_deref(), Some("wg0"), "also a part of it");
        assert_eq!(by("10.99.1.0/26"), None, "a wider route is for whatever has none of its own");
        assert_eq!(taken_by("", &Cidr::parse("10.99.1.64/26").expect("a subnet")), None);
    }
}
