package demo

import (
	"context"
	"fmt"
	"time"

	"exportd/internal/apikey"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// key is an ApiKeys document to be made once per database.
type key struct {
	id, org, name, state string
	scopes               []string
	expiresAt            time.Time // zero: never
}

// keys lists the demo keys. Ids come from the seed, so that a second load finds the keys of the first.
func (l *loader) keys() (caller, ops, other, disabled, expired key) {
	id := func(stream string) string { return "key_demo_" + documentID(l.options.Seed, stream, 0)[:16] }
	first, second := l.directory.main.org, l.directory.other.org
	return key{id("key/caller"), first, "Demo caller", "active", []string{"read", "export"}, time.Time{}},
		key{id("key/ops"), first, "Demo operator", "active", []string{"read", "export", "ops", "platform"}, time.Time{}},
		key{id("key/other"), second, "Demo caller of another org", "active", []string{"read", "export"}, time.Time{}},
		key{id("key/disabled"), first, "Demo key, disabled", "disabled", []string{"read", "export"}, time.Time{}},
		key{id("key/expired"), first, "Demo key, expired", "active", []string{"read", "export"}, l.options.Now.Add(-24 * time.Hour)}
}

// ensureKey returns the secrets of a key, making it where it is missing. A key that is there is kept as it
// is: somebody may have its secret.
func (l *loader) ensureKey(ctx context.Context, k key) (secret, webhookSecret string, err error) {
	name := l.name("ApiKeys/" + k.id)
	found, err := l.target.Client.GetDocument(ctx, &firestorepb.GetDocumentRequest{Name: name})
	if err == nil && found.Fields["secret"].GetStringValue() == "" && l.options.Secrets != nil {
		if secret, webhookSecret, err = l.options.Secrets(ctx, k.id); err != nil {
			return "", "", fmt.Errorf("open demo key %s: %w", k.id, err)
		}
		return secret, webhookSecret, nil
	}
	if err == nil {
		return found.Fields["secret"].GetStringValue(), found.Fields["webhookSecret"].GetStringValue(), nil
	}
	if status.Code(err) != codes.NotFound {
		return "", "", fmt.Errorf("read demo key %s: %w", k.id, err)
	}
	secret, webhookSecret = apikey.RandomSecret(apikey.ForRequests).Reveal(), apikey.RandomSecret(apikey.ForCallbacks).Reveal()
	f := fields{
		"orgId":         text(k.org),
		"name":          text(k.name),
		"secret":        text(secret),
		"scopes":        texts(k.scopes...),
		"state":         text(k.state),
		"createdAt":     instant(l.options.Now),
		"webhookSecret": text(webhookSecret),
	}
	if !k.expiresAt.IsZero() {
		f["expiresAt"] = instant(k.expiresAt)
	}
	_, err = l.target.Client.Commit(ctx, &firestorepb.CommitRequest{
		Database: l.target.Database,
		Writes: []*firestorepb.Write{{
			Operation:       &firestorepb.Write_Update{Update: &firestorepb.Document{Name: name, Fields: f}},
			CurrentDocument: &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_Exists{Exists: false}},
		}},
	})
	if err != nil {
		return "", "", fmt.Errorf("write demo key %s: %w", k.id, err)
	}
	return secret, webhookSecret, nil
}
