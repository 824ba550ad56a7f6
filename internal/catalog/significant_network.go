package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 002: network devices, fabrics and the names of instances.
func init() {
	const waits = "the fleet"
	id := req("networkDeviceId", String, "The device.")
	by := req("userIdAuthenticated", String, "Who did it.")
	ident := req("identifierString", String, "Its name for people.")
	position := req("position", String, "Its place in the fabric, such as leaf.")
	site := req("siteId", String, "Its site.")
	address := req("managementAddress", String, "Address at which it is managed.")
	device := []Field{id, address, ident, req("driver", String, "How it is spoken to."), position, site}
	fabric := []Field{
		req("fabricId", String, "The fabric."), req("networkDeviceIds", Strings, "The devices."),
		req("fabricName", String, "The fabric's name."),
	}
	register(Family{Kind: event.KindSignificant, Producer: "inventory-microservice", Entries: []Entry{{
		Type: "network.device.created", Waits: waits, Description: "A network device was added.",
		Fires: "When it is created.", Message: "network device {data.identifierString} was added", Fields: device,
	}, {
		Type: "network.device.registration.initiated", Waits: waits, Description: "A network device's registration has begun.",
		Fires: "When its identity was read.", Message: "registration of network device {data.networkDeviceId} began",
		Fields: []Field{
			id, address, req("serialNumber", String, "Serial number that it reports."),
			req("chassisIdentifier", String, "Chassis id (LLDP)."), req("managementMacAddress", String, "MAC address of its management port."),
		},
	}, {
		Type: "network.device.registered", Waits: waits, Description: "A network device was registered.",
		Fires: "When it answered and was read.", Message: "network device {data.identifierString} is registered", Fields: device,
	}, {
		Type: "network.device.credentials.updated", Severity: event.Notice, Waits: waits, Description: "A network device's credentials changed.",
		Fires: "When new credentials are stored; they are never told.", Message: "credentials of network device {data.identifierString} changed",
		Fields: fields(device, []Field{by}),
	}, {
		Type: "network.device.assigned.to.fabric", Waits: waits, Description: "Network devices were assigned to a fabric.",
		Fires: "When they are assigned; one event for all of them.", Message: "fabric {data.fabricName} was given {data.networkDeviceIds}", Fields: fabric,
	}, {
		Type: "network.device.removed.from.fabric", Waits: waits, Description: "Network devices were taken out of a fabric.",
		Fires: "When they are removed; one event for all of them.", Message: "fabric {data.fabricName} lost {data.networkDeviceIds}", Fields: fabric,
	}, {
		Type: "network.device.replaced", Severity: event.Notice, Waits: waits, Description: "A network device was replaced by another.",
		Fires: "When the new one has taken the old one's place.", Message: "network device {data.oldNetworkDeviceId} was replaced by {data.newNetworkDeviceId}",
		Fields: []Field{req("oldNetworkDeviceId", String, "The device before."), req("newNetworkDeviceId", String, "The device now.")},
	}, {
		Type: "network.device.archived", Severity: event.Notice, Waits: waits, Description: "A network device was archived.",
		Fires: "When it is archived.", Message: "network device {data.networkDeviceId} was archived", Fields: []Field{id, by},
	}, {
		Type: "network.device.deleted", Severity: event.Notice, Waits: waits, Description: "A network device was removed for good.",
		Fires: "When it is deleted.", Message: "network device {data.identifierString} was deleted", Fields: []Field{id, position, site, ident, by},
	}}})
	array := req("instanceArrayId", String, "The instance array.")
	instance := req("instanceId", String, "The instance.")
	infra := req("infrastructureId", String, "The infrastructure.")
	records := req("dnsRecords", Objects, "The records, each with hostname, type and value.")
	register(Family{Kind: event.KindSignificant, Producer: "orchestrator-microservice", Entries: []Entry{{
		Type: "instance.array.dns.updated", Waits: waits, Description: "The DNS records of an instance array changed.",
		Fires: "After the name server took the update.", Message: "DNS of instance array {data.instanceArrayId} was updated", Fields: []Field{array, infra, records, by},
	}, {
		Type: "instance.array.dns.deleted", Waits: waits, Description: "The DNS records of an instance array were deleted.",
		Fires: "After the name server took the update.", Message: "DNS of instance array {data.instanceArrayId} was deleted", Fields: []Field{array, infra, by},
	}, {
		Type: "instance.dns.updated", Waits: waits, Description: "The DNS records of an instance changed.",
		Fires: "After the name server took the update.", Message: "DNS of instance {data.instanceId} was updated", Fields: []Field{instance, infra, records, by},
	}, {
		Type: "instance.dns.deleted", Waits: waits, Description: "The DNS records of an instance were deleted.",
		Fires: "After the name server took the update.", Message: "DNS of instance {data.instanceId} was deleted", Fields: []Field{instance, infra, by},
	}}})
}
