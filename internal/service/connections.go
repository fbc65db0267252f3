package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"
	"go.uber.org/zap"
	"google.golang.org/api/option"
	gtransport "google.golang.org/api/transport/grpc"

	"exportd/internal/config"
	"exportd/internal/connection"
	"exportd/internal/docwatch"
)

// guards watch over the connections to each service.
type guards struct{ firestore, pubsub, storage *connection.Guard }

func newGuards(log *zap.Logger) guards {
	guard := func(service string) *connection.Guard {
		return &connection.Guard{Lost: func(addr string) {
			log.Warn("a connection brings no answers that make sense and is made anew", zap.String("service", service), zap.String("addr", addr))
		}}
	}
	return guards{guard("firestore"), guard("pubsub"), guard("storage")}
}

// cutOffAfter is for how long nothing may get through until liveness probes fail. By then connections have
// been given up and made anew several times.
const cutOffAfter = time.Minute

// cutOff tells that calls to one of the services have been made for a while and nothing has come back, not
// even a refusal. In an outage in which the service answers, with errors, a new process would be no better.
func cutOff(now time.Time, of map[string]*connection.Guard) error {
	var errs []error
	for service, g := range of {
		if d := g.Silent(now); d > cutOffAfter {
			errs = append(errs, fmt.Errorf("nothing has got through to %s for %s", service, d.Round(time.Second)))
		}
	}
	return errors.Join(errs...)
}

// apiAlive: an API does nothing without Firestore; what it cannot publish the rescuer publishes.
func (g guards) apiAlive() error {
	return cutOff(time.Now(), map[string]*connection.Guard{"firestore": g.firestore})
}

// workerAlive: a worker hears of nothing without Pub/Sub.
func (g guards) workerAlive() error {
	return cutOff(time.Now(), map[string]*connection.Guard{"firestore": g.firestore, "pubsub": g.pubsub})
}

// connectionsFor is how many connections carry calls at a time of which most last long, four at least: each
// is read by one goroutine, which becomes the limit with many scans.
func connectionsFor(calls int) int {
	return max(4, (calls+connection.CallsEach-1)/connection.CallsEach)
}

// openFirestore opens the client for documents, and what watches them, on connections of their own. Reads of
// the source collections have others.
func (c *Clients) openFirestore(ctx context.Context, cfg config.Config, log *zap.Logger) error {
	reach := connection.FirestoreConfig{Emulator: cfg.FirestoreHost, Guard: c.guards.firestore}
	watch := reach
	// Heartbeats of all slots may commit at once, and callbacks that are under way.
	reach.Connections = connectionsFor(cfg.JobSlots + cfg.PartSlots + cfg.CallbackSlots)
	pool, err := connection.DialFirestore(ctx, reach)
	if err != nil {
		return fmt.Errorf("open Firestore of %s: %w", cfg.ProjectID, err)
	}
	c.Firestore, err = firestore.NewClientWithDatabase(ctx, cfg.ProjectID, cfg.DatabaseID,
		option.WithGRPCConn(nil), // of the client's own where FIRESTORE_EMULATOR_HOST is set
		gtransport.WithConnPool(pool))
	if err != nil {
		_ = pool.Close()
		return fmt.Errorf("open Firestore of %s: %w", cfg.ProjectID, err)
	}
	c.documents, err = docwatch.New(docwatch.Config{
		Panics:   c.panics,
		Database: "projects/" + cfg.ProjectID + "/databases/" + cfg.DatabaseID,
		Dial: func(ctx context.Context) (docwatch.Connection, error) {
			return connection.DialFirestore(ctx, watch)
		},
	})
	return err
}
