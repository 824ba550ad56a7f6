package source

import (
	"context"
	"errors"

	"github.com/mdlayher/genetlink"
)

// listenQuotas wakes at every warning that the kernel gives of quotas (generic
// netlink, family VFS_DQUOT, group events; Documentation/filesystems/quota.rst), until
// ctx ends. A kernel without it, or without quotas, is no fault: the interval
// remains.
func listenQuotas(ctx context.Context, wake chan<- struct{}) error {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close() }()
	family, err := conn.GetFamily("VFS_DQUOT")
	if err != nil {
		return nil
	}
	for _, g := range family.Groups {
		if g.Name == "events" {
			err = errors.Join(err, conn.JoinGroup(g.ID))
		}
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	for err == nil {
		if _, _, err = conn.Receive(); err == nil {
			select {
			case wake <- struct{}{}:
			default: // it is awake already
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}
