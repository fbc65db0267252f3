package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"exportd/internal/doctor"
	"exportd/internal/indexes"
	"exportd/internal/jobqueue"
	"exportd/internal/objectstore"
	"exportd/jobs"
)

// gcloud is a command for this configuration's database.
func (d *examiner) gcloud(command string) string {
	return fmt.Sprintf("gcloud firestore %s --database='%s' --project=%s", command, d.cfg.DatabaseID, d.cfg.ProjectID)
}

// ofFirestore asks for the database, its point-in-time recovery, every composite index and every TTL policy.
func (d *examiner) ofFirestore(s remote) []doctor.Check {
	checks := []doctor.Check{
		s.check(),
		s.of("database", "gcloud projects add-iam-policy-binding "+d.cfg.ProjectID+" --role=roles/datastore.user --member=serviceAccount:EMAIL",
			func(ctx context.Context) (string, error) { return d.cfg.DatabaseID, d.c.Store.Ping(ctx) }),
		s.of("point-in-time recovery", d.gcloud("databases update --enable-pitr")+", or EXPORTD_PITR=false", func(ctx context.Context) (string, error) {
			on, err := d.database.PITR(ctx)
			switch {
			case errors.Is(err, indexes.ErrNoAdmin):
				return "", doctor.Skip("%v", err)
			case err != nil:
				return "", err
			case d.cfg.PITR && !on:
				return "", errors.New("off, and EXPORTD_PITR=true counts on snapshots of 7 days")
			case on && !d.cfg.PITR:
				return "on; EXPORTD_PITR=true would make use of it", nil
			}
			return map[bool]string{true: "on", false: "off, as EXPORTD_PITR says"}[on], nil
		}),
	}
	for _, x := range d.indexes {
		checks = append(checks, s.of("index "+x.String(), d.createIndex(x), func(ctx context.Context) (string, error) {
			return d.database.CheckIndex(ctx, x)
		}))
	}
	for _, ttl := range d.ttls {
		remedy := d.gcloud(fmt.Sprintf("fields ttls update %s --collection-group=%s --enable-ttl", ttl.Field, ttl.Group))
		checks = append(checks, s.of("TTL "+ttl.Group+"."+ttl.Field, remedy, func(ctx context.Context) (string, error) {
			state, err := d.database.CheckTTL(ctx, ttl)
			if errors.Is(err, indexes.ErrNoAdmin) {
				return "", doctor.Skip("%v", err)
			}
			return state, err
		}))
	}
	return checks
}

// createIndex is the command that makes an index.
func (d *examiner) createIndex(x indexes.Index) string {
	var b strings.Builder
	b.WriteString("indexes composite create --collection-group=" + x.Group + " --query-scope=" + strings.ToLower(strings.ReplaceAll(x.Scope, "_", "-")))
	for _, f := range x.Fields {
		if f.Array != "" {
			fmt.Fprintf(&b, " --field-config=field-path=%s,array-config=contains", f.Path)
			continue
		}
		fmt.Fprintf(&b, " --field-config=field-path=%s,order=%s", f.Path, strings.ToLower(f.Order))
	}
	return d.gcloud(b.String())
}

// ofPubSub asks for topics and subscriptions, and whether these are bound to those.
func (d *examiner) ofPubSub(s remote) []doctor.Check {
	checks := []doctor.Check{s.check()}
	for _, queue := range jobqueue.AllQueues {
		checks = append(checks, s.of("topic exportd-"+string(queue), "exportd setup", func(ctx context.Context) (string, error) {
			return "there", d.c.Queue.InspectTopic(ctx, queue)
		}))
	}
	for _, queue := range jobqueue.AllQueues {
		checks = append(checks, s.of("subscription exportd-"+string(queue), "exportd setup", func(ctx context.Context) (string, error) {
			return "bound to its topic, settings right", d.c.Queue.CheckSubscription(ctx, queue)
		}))
	}
	return checks
}

// ofStorage asks for the bucket, its settings, and whether a file can be written, linked to, fetched and
// deleted.
func (d *examiner) ofStorage(s remote) []doctor.Check {
	var once sync.Once
	var aspects []objectstore.Aspect
	var failed error
	inspect := func(ctx context.Context) ([]objectstore.Aspect, error) { // one call for all lines
		once.Do(func() { aspects, failed = d.c.Objects.Inspect(ctx) })
		return aspects, failed
	}
	checks := []doctor.Check{s.check(), s.of("bucket", "exportd setup", func(ctx context.Context) (string, error) {
		_, err := inspect(ctx)
		return d.cfg.Bucket, err
	})}
	for _, name := range objectstore.AspectNames {
		checks = append(checks, s.of("bucket "+name, "exportd setup", func(ctx context.Context) (string, error) {
			all, err := inspect(ctx)
			if err != nil {
				return "", doctor.Skip("bucket %s cannot be inspected", d.cfg.Bucket)
			}
			a := all[slices.IndexFunc(all, func(a objectstore.Aspect) bool { return a.Name == name })]
			switch err := fmt.Errorf("%s: %s", a.Is, a.Wrong); {
			case a.Wrong == "":
				return a.Is, nil
			case a.Remedy != "":
				return "", doctor.Fault(err, a.Remedy)
			default:
				return "", err
			}
		}))
	}
	return append(checks, s.of("signed URL", "grant storage.objectUser on the bucket, and iam.serviceAccountTokenCreator to the service account on itself (EXPORTD_SIGNER_EMAIL names it)", d.signAndFetch))
}

// signAndFetch goes the way of a file: written, signed for, fetched as a caller does, deleted.
func (d *examiner) signAndFetch(ctx context.Context) (found string, err error) {
	name, body := "exports/doctor/"+jobs.NewToken(), "exportd doctor was here\n"
	w := d.c.Objects.Create(ctx, name, jobs.ObjectAttrs{ContentType: "text/plain"})
	if _, err := io.WriteString(w, body); err != nil {
		w.Abort()
		return "", err
	}
	if _, err := w.Commit(ctx); err != nil {
		return "", err
	}
	defer func() {
		// The object must go although the time is up; the bucket's lifecycle is behind it.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		err = errors.Join(err, d.c.Objects.Delete(clean, name))
	}()
	link, err := d.c.Objects.SignedURL(ctx, name, time.Minute, "")
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return "", errors.New("the signed URL is none") // the error would quote it
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}}
	res, err := client.Do(req)
	if err != nil {
		return "", errors.New("the signed URL cannot be fetched from here")
	}
	defer res.Body.Close()
	got, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if err != nil || res.StatusCode != http.StatusOK || string(got) != body {
		return "", fmt.Errorf("the signed URL gives status %d, not the file", res.StatusCode)
	}
	return "written, signed, fetched and deleted", nil
}
