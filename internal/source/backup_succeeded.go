package source

// Delivery: systemd's journal, followed from where the last run of the server
// stopped.
// Makes: backup_succeeded for each run of a service that makes backups and that
// ended well, with what restic or borg say of it; also where borg ended with 1,
// its status for warnings, which is then a warning here, too.
// Leaves out: services that somebody stopped, oneshot services that stay active
// after their work, and what runs under tocsin run, which tells itself.
func init() {
	register("backup_succeeded", "Services that make backups and ended well. Backups under tocsin run are told of by that, too.", defaultBackup(), func(o backupOptions) (Source, error) {
		return newBackupWatch(o, "backup_succeeded", messageSucceeded, messageFailed)
	})
}
