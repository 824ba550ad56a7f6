package bench

// The words of the generated events.
//
//nolint:gochecknoglobals // constant tables, which Go can't write as constants
var (
	families = [...]string{"order", "payment", "login", "backup", "mail", "deploy", "disk", "network", "queue", "invoice"}
	verbs    = [...]string{
		"created", "updated", "removed", "accepted", "refused", "started", "finished", "repeated", "scheduled", "cancelled",
		"verified", "moved", "copied", "opened", "closed", "sent", "received", "rendered", "imported", "exported",
	}
	nouns = [...]string{
		"order", "invoice", "basket", "customer", "session", "template", "report", "volume", "snapshot", "interface", "gateway", "certificate",
		"mailbox", "message", "document", "picture", "archive", "contract", "shipment", "payment", "voucher", "address", "cluster", "database",
		"index", "worker", "schedule", "pipeline", "artifact", "container", "registry", "endpoint", "partition", "replica", "journal", "cache",
		"balance", "account", "tariff", "meter",
	}
	regions  = [...]string{"eu-central-1", "eu-west-1", "us-east-1", "us-west-2", "ap-south-1", "sa-east-1"}
	statuses = [...]int64{200, 200, 200, 200, 201, 202, 204, 301, 304, 400, 401, 404, 409, 500, 502, 503}
)
