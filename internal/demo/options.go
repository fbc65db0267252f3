package demo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Sizes used where Options says zero.
const (
	DefaultUsers    = 5_000
	DefaultMessages = 20_000
)

// history is how far back from Options.Now messages go; window is the widest export the API accepts.
const (
	history = 60 * 24 * time.Hour
	window  = 31 * 24 * time.Hour
)

// Options chooses the data. Equal Options make equal documents.
type Options struct {
	// Seed of everything but the secrets. It also names the marker document.
	Seed uint64
	// Users and Messages are rows over all workspaces; zero means the default. Hand-made rows (about 1,500)
	// come on top of both.
	Users, Messages int
	// Now ends the data: messages are from the 60 days before it. It is cut to the start of its UTC day.
	// Required.
	Now time.Time
	// Secrets gives the secrets of a key of an earlier load that have been sealed since. Without it they are
	// read as they are in the record.
	Secrets func(ctx context.Context, keyID string) (secret, webhookSecret string, err error)
	// Refill writes the data anew where there is some already, and deletes the rows beyond it.
	Refill bool
	// Progress is told how many documents have been written: 0 before the first, never where the data is
	// there already. Calls come one after the other.
	Progress func(written int)
}

func (o Options) normalised() (Options, error) {
	if o.Users < 0 || o.Messages < 0 {
		return o, fmt.Errorf("demo data of %d users and %d messages: sizes must not be negative", o.Users, o.Messages)
	}
	if o.Now.IsZero() {
		return o, errors.New("demo data: Now is required")
	}
	if o.Users == 0 {
		o.Users = DefaultUsers
	}
	if o.Messages == 0 {
		o.Messages = DefaultMessages
	}
	o.Now = o.Now.UTC().Truncate(24 * time.Hour)
	return o, nil
}

// windowStart is the first instant of the widest window that ends with Now.
func (o Options) windowStart() time.Time { return o.Now.Add(-window) }
