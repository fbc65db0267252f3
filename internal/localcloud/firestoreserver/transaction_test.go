package firestoreserver_test

import (
	"context"
	"fmt"
	"testing"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"

	"exportd/internal/localcloud/firestoreserver"
)

// Clients that add to one counter must end with the sum.
func TestTransactionsUnderContention(t *testing.T) {
	t.Parallel()
	for clients, each := range map[int]int{2: 100, 8: 25} {
		t.Run(fmt.Sprint(clients), func(t *testing.T) {
			t.Parallel()
			contend(t, clients, each)
		})
	}
}

func contend(t *testing.T, clients, each int) {
	t.Helper()
	f := start(t, firestoreserver.Options{})
	doc := "counters/one"
	if _, err := f.client.Doc(doc).Set(t.Context(), map[string]any{"n": 0}); err != nil {
		t.Fatal(err)
	}
	g, ctx := errgroup.WithContext(t.Context())
	for range clients {
		_, client := dial(t, f.addr)
		g.Go(func() error {
			for range each {
				if err := increment(ctx, client, client.Doc(doc)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	snap, err := f.client.Doc(doc).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := snap.Data()["n"], int64(clients*each); got != want {
		t.Errorf("counter = %v, want %v", got, want)
	}
}

func increment(ctx context.Context, client *firestore.Client, doc *firestore.DocumentRef) error {
	return client.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
		snap, err := tx.Get(doc)
		if err != nil {
			return err
		}
		n, err := snap.DataAt("n")
		if err != nil {
			return err
		}
		return tx.Set(doc, map[string]any{"n": n.(int64) + 1})
	})
}
