package localcloud

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"exportd/internal/localcloud/firestoreserver"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
	"exportd/internal/localcloud/pubsubserver"
	"exportd/internal/localcloud/storageserver"
)

// Scope says what Reset deletes. The zero Scope is everything.
type Scope struct {
	// Services are of "firestore", "pubsub" and "storage". Default: all.
	Services []string
	// Project is whose data goes. Default: that of all.
	Project string
	// Database is which of Firestore's goes, and nothing of the other services. Default: all.
	Database string
}

func (s Scope) check() error {
	for _, name := range s.Services {
		if !slices.Contains(subfolders, name) {
			return fmt.Errorf("there is no service %q: %q", name, subfolders)
		}
	}
	return nil
}

// Cleared says what Reset deleted.
type Cleared struct {
	Documents     int `json:"documents"`
	Topics        int `json:"topics"`
	Subscriptions int `json:"subscriptions"`
	Buckets       int `json:"buckets"`
	Objects       int `json:"objects"`
}

// stores are what Reset works on.
type stores struct {
	firestore *firestoreserver.Server
	pubsub    *pubsubserver.Server
	storage   *storageserver.Server
}

// Reset deletes data, so that a test finds the cloud as it was when it was new, without a new start.
// Addresses, accounts, faults and counters stay, and so do the versions that a Firestore read time still
// reaches.
func (c *Cloud) Reset(ctx context.Context, s Scope) (out Cleared, err error) {
	if err := s.check(); err != nil {
		return out, fmt.Errorf("reset: %w", err)
	}
	has := func(name string) bool { return len(s.Services) == 0 || slices.Contains(s.Services, name) }
	if has("firestore") {
		out.Documents, err = c.stores.firestore.Reset(ctx, func(d fsvalue.Database) bool {
			return (s.Project == "" || d.Project == s.Project) && (s.Database == "" || d.ID == s.Database)
		})
	}
	if err == nil && has("pubsub") && s.Database == "" {
		out.Topics, out.Subscriptions, err = c.stores.pubsub.Reset(s.Project)
	}
	if err == nil && has("storage") && s.Database == "" {
		out.Buckets, out.Objects, err = c.stores.storage.Reset(s.Project)
	}
	if err != nil {
		return out, fmt.Errorf("reset: %w", err)
	}
	return out, nil
}

// serveReset takes a Scope from the parameters service (any number), project and database.
func (c *Cloud) serveReset(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if name != "service" && name != "project" && name != "database" {
			http.Error(w, fmt.Sprintf("there is no parameter %q: service, project, database", name), http.StatusBadRequest)
			return
		}
	}
	scope := Scope{q["service"], q.Get("project"), q.Get("database")}
	if err := scope.check(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	done, err := c.Reset(r.Context(), scope)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(done) // numbers; the client is gone if this fails
}
