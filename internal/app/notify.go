package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// manager tells the service manager how the server fares (sd_notify(3)). Where
// none listens, which NOTIFY_SOCKET says, every call does nothing.
type manager struct{ log *slog.Logger }

func (m manager) ready(address string) { m.tell("READY=1\nSTATUS=Ready at http://" + address) }

func (m manager) stopping() { m.tell(daemon.SdNotifyStopping + "\nSTATUS=Shutting down") }

// reloading announces a reload; the returned function says that it is over.
func (m manager) reloading() (done func()) {
	m.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	return func() { m.tell(daemon.SdNotifyReady) }
}

func (m manager) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		m.log.Warn("the service manager can't be told", "err", err)
	}
}

// watchdogTries is how many signs of life fit into the time in which the service
// manager wants one (sd_watchdog_enabled(3) advises two).
const watchdogTries = 2

// watch gives signs of life to the service manager, where it wants any, for as
// long as check returns: what hangs is restarted. What check finds does not
// matter: a full disk is not cured by a restart.
func (m manager) watch(ctx context.Context, check func(context.Context)) error {
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		m.log.WarnContext(ctx, "the watchdog's settings are unreadable", "err", err)
	}
	if within <= 0 {
		return nil
	}
	tick := time.NewTicker(within / watchdogTries)
	defer tick.Stop()
	for {
		check(ctx)
		m.tell(daemon.SdNotifyWatchdog)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// touch takes the locks that everything else needs.
func (a *App) touch(ctx context.Context) {
	_ = a.journal.Stats()
	_, _ = a.state.Fact(ctx, runningFact) // that it answers is enough
}
