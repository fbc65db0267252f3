package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"exportd/internal/doctor"
	"exportd/internal/webhook"
	"exportd/jobs"
)

// maxSkew is what the job protocol bears between clocks; Date headers are whole seconds.
const maxSkew = 2 * time.Second

// ofProcesses asks for clocks, live workers, quotas and, in development, the data folder.
func (d *examiner) ofProcesses(firestore, storage remote) []doctor.Check {
	return []doctor.Check{
		storage.of("clock", "set this machine's clock: systemctl restart systemd-timesyncd (or chronyd)", d.clock),
		firestore.of("rescuer", "start a worker: exportd worker (before the first one: exportd doctor --without-workers)", func(ctx context.Context) (string, error) {
			if d.flags.withoutWorkers {
				return "", doctor.Skip("--without-workers")
			}
			return d.rescuers(ctx)
		}),
		{Name: "quotas", Run: func(context.Context) (string, error) {
			// To read them takes cloudquotas.quotas.get and an API to be enabled, for nothing else.
			return "", doctor.Skip("not read here; look at Pub/Sub's publisher and subscriber throughput of the region (gcloud quotas info list --service=pubsub.googleapis.com --project=%[1]s) "+
				"and at signatures a minute (gcloud quotas info list --service=iamcredentials.googleapis.com --project=%[1]s); deployments/capacity.md has what loads need", d.cfg.ProjectID)
		}},
		{Name: "data folder", Remedy: "chown or chmod u+rwx " + d.flags.dataDir, Run: func(context.Context) (string, error) { return d.dataFolder() }},
	}
}

// rescuers tells who does what is due: each partition of it needs somebody.
func (d *examiner) rescuers(ctx context.Context) (string, error) {
	division, held, err := d.c.Store.Partitions(ctx, jobs.MaxPartitions)
	if err != nil {
		return "", err
	}
	var owners []string
	missing := 0
	for _, p := range held[:division.Partitions] {
		switch {
		case p.Owner == "":
			missing++
		case !slices.Contains(owners, p.Owner):
			owners = append(owners, p.Owner)
		}
	}
	switch {
	case missing == 0:
		return strings.Join(owners, ", "), nil
	case len(owners) == 0 && !d.production():
		return "", doctor.Skip("no worker runs")
	}
	return "", fmt.Errorf("no worker rescues %d of %d partitions: nothing there is retried, expired or taken over", missing, division.Partitions)
}

func (d *examiner) clock(ctx context.Context) (string, error) {
	url := "https://storage.googleapis.com/"
	if d.cfg.StorageHost != "" {
		url = "http://" + d.cfg.StorageHost + "/"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}}
	before := d.now()
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	after := d.now()
	date, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return "", doctor.Skip("%s tells no time", url)
	}
	// The truth lies within the second that Date names, and the answer was made between before and after.
	ahead, behind := before.Sub(date.Add(time.Second)), date.Sub(after)
	switch {
	case ahead > maxSkew:
		return "", fmt.Errorf("this clock is %s ahead of Google's", ahead.Round(time.Second))
	case behind > maxSkew:
		return "", fmt.Errorf("this clock is %s behind Google's", behind.Round(time.Second))
	}
	return "within 2 s of " + url, nil
}

func (d *examiner) dataFolder() (string, error) {
	dir := d.flags.dataDir
	if d.production() {
		return "", doctor.Skip("production has none")
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return "", doctor.Skip("no folder %s here", dir)
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return "", fmt.Errorf("cannot be written: %w", err)
	}
	return dir + " can be written", errors.Join(f.Close(), os.Remove(f.Name()))
}

// inside are addresses that no callback may ever reach: this machine, metadata servers, private networks.
var inside = []string{
	"127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "169.254.169.254", "fd20:ce::254", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fe80::1",
}

// ofCallbacks asks whether callbacks get out, and cannot get in.
func (d *examiner) ofCallbacks() []doctor.Check {
	return []doctor.Check{
		{Name: "callbacks stay out", Remedy: "unset EXPORTD_CALLBACK_ALLOW_HTTP, EXPORTD_CALLBACK_ALLOW_CIDRS and EXPORTD_CALLBACK_ALLOW_PORTS", Run: d.callbacksStayOut},
		{Name: "callbacks get out", Remedy: "let this process reach public addresses by https, and its DNS server; or name another URL in EXPORTD_CALLBACK_PROBE_URL", Where: d.cfg.CallbackProbeURL, Run: d.callbacksGetOut},
	}
}

func (d *examiner) callbacksStayOut(context.Context) (string, error) {
	guard := webhook.NewGuard(d.guard)
	refused, open := 0, []string(nil)
	for _, text := range inside {
		if err := guard.Check(netip.MustParseAddr(text)); errors.Is(err, webhook.ErrBlocked) {
			refused++
			continue
		}
		open = append(open, text)
	}
	for _, url := range []string{"http://169.254.169.254/computeMetadata/v1/", "https://metadata.google.internal/", "https://localhost/"} {
		if _, err := webhook.ParseURL(url, d.rules); err == nil {
			open = append(open, url)
		}
	}
	for _, host := range d.cfg.CallbackOwnHosts {
		if _, err := webhook.ParseURL("https://"+strings.TrimPrefix(host, "*.")+"/", d.rules); err == nil && !strings.HasPrefix(host, "*.") {
			open = append(open, host)
		}
	}
	switch {
	case len(open) > 0 && d.production():
		return "", fmt.Errorf("callbacks may reach %s", strings.Join(open, ", "))
	case len(open) > 0:
		return "", doctor.Skip("development: callbacks may reach %s", strings.Join(open, ", "))
	}
	return fmt.Sprintf("%d inner addresses are refused", refused), nil
}

// callbacksGetOut asks a URL on the way that callbacks take: the guard's look-up, judgement and connection.
func (d *examiner) callbacksGetOut(ctx context.Context) (string, error) {
	switch {
	case !d.production():
		return "", doctor.Skip("not asked in development")
	case d.cfg.CallbackProbeURL == "":
		return "", doctor.Skip("EXPORTD_CALLBACK_PROBE_URL=none")
	}
	target, err := webhook.ParseURL(d.cfg.CallbackProbeURL, d.rules)
	if err != nil {
		return "", err
	}
	guard := webhook.NewGuard(d.guard)
	client := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: d.roots},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return guard.Dial(ctx, target) },
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, d.cfg.CallbackProbeURL, nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	return fmt.Sprintf("%s answers %d", target.Origin(), res.StatusCode), nil
}
