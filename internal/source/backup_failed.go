package source

// Delivery: systemd's journal, followed from where the last run of the server
// stopped.
// Makes: backup_failed for each run of a service that makes backups and that
// failed, with what restic or borg say of it; also where restic ended with 3,
// because something is missing in its snapshot.
// Leaves out: what runs under tocsin run, which tells itself.
func init() {
	register("backup_failed", "Services that make backups and failed. Backups under tocsin run are told of by that, too.", defaultBackup(), func(o backupOptions) (Source, error) {
		return newBackupWatch(o, "backup_failed", messageFailed)
	})
}
