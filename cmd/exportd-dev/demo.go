package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/command"
	"exportd/internal/config"
	"exportd/internal/console"
	"exportd/internal/demo"
	"exportd/internal/localcloud"
	"exportd/internal/service"
)

// demoFile is what demo.json holds: everything that a client of the demo needs.
type demoFile struct {
	APIURL string `json:"apiUrl"`
	demo.Summary
	FirestoreHost string `json:"firestoreEmulatorHost"`
	PubSubHost    string `json:"pubsubEmulatorHost"`
	StorageHost   string `json:"storageEmulatorHost"`
	ControlHost   string `json:"controlHost,omitempty"`

	consoleLink string // signs in to the console, once; in no file
}

// loadDemo fills a new data folder and writes demo.json, which only its owner can read.
func loadDemo(ctx context.Context, env command.Environment, flags runFlags, cfg config.Config, c *service.Clients, e localcloud.Endpoints, apiURL string, say func(string)) (demoFile, error) {
	target, closeTarget, err := demo.DialEmulator(ctx, e.Firestore, cfg.ProjectID)
	if err != nil {
		return demoFile{}, err
	}
	defer closeTarget()
	keys, err := service.OpenKeys(ctx, cfg, c, true)
	if err != nil {
		return demoFile{}, err
	}
	defer keys.Close()
	begun := time.Now()
	summary, err := demo.Load(ctx, target, demo.Options{
		Seed: 1, Users: flags.users, Messages: flags.messages, Now: time.Now(), Secrets: secretsOf(keys), Refill: flags.refill,
		Progress: func(written int) {
			say(fmt.Sprintf("it fills %s with demo data, %d documents so far", flags.place(), written))
			if written == 0 { // whoever reads this line finds the port saying so
				fmt.Fprintf(env.Stdout, "Filling %s with demo data.\n", flags.place())
			}
		},
	})
	if err != nil {
		return demoFile{}, fmt.Errorf("load demo data: %w", err)
	}
	switch {
	case summary.Loaded:
		fmt.Fprintf(env.Stdout, "Done in %s: %d users and %d messages in the demo workspace.\n", time.Since(begun).Round(100*time.Millisecond), summary.Users, summary.Messages)
	case flags.users > 0 && flags.users != summary.AllUsers, flags.messages > 0 && flags.messages != summary.AllMessages:
		fmt.Fprintf(env.Stdout, "%s has data of %d users and %d messages and is served as it is; --refill-demo makes it anew.\n", flags.dataDir, summary.AllUsers, summary.AllMessages)
	}
	facts := demoFile{APIURL: apiURL, Summary: summary, FirestoreHost: e.Firestore, PubSubHost: e.PubSub, StorageHost: e.Storage, ControlHost: e.Control}
	body, err := json.MarshalIndent(facts, "", "  ")
	if err != nil {
		return facts, fmt.Errorf("encode demo.json: %w", err)
	}
	if facts.consoleLink, err = consoleLink(keys, cfg, facts); err != nil {
		return facts, err
	}
	if flags.inMemory {
		return facts, nil
	}
	path := filepath.Join(flags.dataDir, "demo.json")
	// Written whole and then renamed: a program that waits for it never reads half.
	if err := os.WriteFile(path+".new", append(body, '\n'), 0o600); err != nil {
		return facts, fmt.Errorf("write demo.json: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return facts, fmt.Errorf("write demo.json: %w", err)
	}
	return facts, nil
}

// printNextSteps shows commands that work as they are. Without a folder it tells what demo.json would.
func printNextSteps(w io.Writer, dataDir string, f demoFile) {
	keys, opsKey, stays := filepath.Join(dataDir, "demo.json"), "opsApiKey and opsSecret of demo.json", "the data stays in "+dataDir
	if dataDir == "" {
		keys, opsKey, stays = "no file has them: all is in memory", fmt.Sprintf("the key %s and the secret %s", f.OpsAPIKey, f.OpsSecret), "nothing stays"
	}
	const place, days = "workspaceId=$W&mediumId=$M", "&from=$FROM&to=$TO"
	fmt.Fprintf(w, `
exportd is ready at %[1]s   (keys and addresses: %[2]s)

1. Paste this once: what README.md's commands use, and a function that signs requests with the demo key.

export URL=%[1]s KEY=%[3]s SECRET=%[4]s W=%[5]s M=%[6]s FROM=%[7]s TO=%[8]s
vip() { local d="$(date -u +%%Y-%%m-%%dT%%H:%%M:%%SZ)"; curl -sS -H "x-api-key: $KEY" -H "x-date: $d" -H "x-signature: $(printf %%s "$d" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -c1-64)" "$@"; }

2. List messages, newest first:

vip "$URL/vip-messages?%[9]s%[10]s&limit=3"

3. Export all of them, and download the file:

vip "$URL/vip-messages/export?%[9]s%[10]s"
curl -sS -o messages.csv "$(vip "$URL/vip-messages/export?%[9]s%[10]s" | sed 's/.*"csvUrl":"\([^"]*\)".*/\1/')" && head -n 3 messages.csv

4. Export as a job, and poll it:

vip -H 'Prefer: respond-async' "$URL/vip-users/export?%[9]s"
vip "$URL/exports"

5. See it all in a browser; this link signs you in, once within 15 minutes (or sign in with %[13]s):

%[12]s

Ctrl-C stops it; %[11]s.
`, f.APIURL, keys, f.APIKey, f.Secret, f.WorkspaceID, f.MediumID, f.From, f.To, place, days, stays, f.consoleLink, opsKey)
}

// consoleLink makes a link that signs in to the console with the operators' key.
func consoleLink(keys *apikey.Store, cfg config.Config, f demoFile) (string, error) {
	if keys.Sealer() == nil {
		return "(the console needs a keyset: EXPORTD_KEYSET_FILE names one)", nil
	}
	if cfg.Console != "public" {
		return "(EXPORTD_CONSOLE=public shows it at this port)", nil
	}
	fragment, err := console.Link(keys.Sealer(), f.OpsAPIKey, f.OpsSecret, time.Now())
	if err != nil {
		return "", fmt.Errorf("make the console's link: %w", err)
	}
	return f.APIURL + "/console/sign-in#" + fragment, nil
}

// secretsOf gives the secrets of a key to whoever makes demo.json.
func secretsOf(keys *apikey.Store) func(context.Context, string) (string, string, error) {
	return func(ctx context.Context, id string) (secret, webhookSecret string, err error) {
		key, err := keys.Lookup(ctx, id)
		if err != nil {
			return "", "", err
		}
		own, _ := key.CallbackSecrets(time.Now()) // the newest first
		return key.Secrets[0].Secret.Reveal(), cmp.Or(own...), nil
	}
}
