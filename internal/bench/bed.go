package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/config"
	"exportd/internal/dataset"
	"exportd/internal/jobqueue"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/internal/records"
	"exportd/jobs"
)

// bed is the embedded cloud in a process of its own, filled with messages, and what is needed to submit jobs
// to it as the API does.
type bed struct {
	binary  string
	env     []string // names the cloud to workers
	cfg     config.Config
	control control
	cloud   *process
	secret  string // of the key for lists, once it is there
	form    form   // of the files of exports; CSV if it has no parameters

	client *firestore.Client
	store  *jobstore.Store
	queue  *jobqueue.Queue
	reader *records.Reader
}

// form is one of files.
type form struct {
	name   string
	params jobs.Params
}

// forms are those that are measured against plain CSV.
var forms = []form{
	{"gzip", jobs.Params{jobs.ParamCompression: jobs.CompressionGzip}},
	{"JSONL", jobs.Params{jobs.ParamFormat: jobs.FormatJSONL}},
	{"Parquet", jobs.Params{jobs.ParamFormat: jobs.FormatParquet}},
}

const (
	// startWithin is generous: the binary may be read from a cold disk.
	startWithin = time.Minute
	// openWithin is more so: a data folder of an earlier run is indexed anew when the indexes have changed
	// since.
	openWithin = 10 * time.Minute
)

// cloud returns the bed, starting and filling it first.
func (s *suite) cloud(ctx context.Context) (*bed, error) {
	if s.bed != nil {
		return s.bed, nil
	}
	temp, err := s.folder()
	if err != nil {
		return nil, err
	}
	b := &bed{}
	s.bed = b // close ends what has been started, also after an error
	if b.binary, err = s.exportd(ctx); err != nil {
		return nil, err
	}
	data := s.data
	if data == "" {
		data = filepath.Join(temp, "cloud")
	}
	if err := b.start(ctx, data); err != nil {
		return nil, err
	}
	begun := time.Now()
	loaded, err := b.load(ctx, s.sizes.messages(s.lines))
	if err != nil {
		return nil, err
	}
	if loaded > 0 {
		took := time.Since(begun)
		s.note("loaded %s messages in %s, %s/s", number(loaded), took.Round(100*time.Millisecond), number(float64(loaded)/took.Seconds()))
	}
	return b, nil
}

// start runs `exportd-dev emulators` and `exportd setup`, and connects.
func (b *bed) start(ctx context.Context, data string) error {
	var vars map[string]string
	var err error
	if b.cloud, vars, err = startEmulators(ctx, b.binary, "--data-dir", data, "--control", "127.0.0.1:0"); err != nil {
		return err
	}
	b.control = control("http://" + vars["CONTROL_HOST"])
	delete(vars, "CONTROL_HOST")
	for name, v := range vars {
		b.env = append(b.env, name+"="+v)
	}
	if b.cfg, err = config.Load(func(name string) string { return vars[name] }, nil); err != nil {
		return err
	}
	setup, err := start(ctx, b.env, func(string) {}, b.binary, "setup")
	if err != nil {
		return err
	}
	setup.reading.Wait()
	if err := setup.cmd.Wait(); err != nil {
		return fmt.Errorf("exportd setup: %w\n%s", err, setup.said())
	}
	setup.cancel()
	return b.connect(ctx)
}

func (b *bed) connect(ctx context.Context) error {
	var err error
	if b.client, err = firestore.NewClient(ctx, b.cfg.ProjectID, localcloud.GRPCOptions(b.cfg.FirestoreHost)...); err != nil {
		return fmt.Errorf("open Firestore: %w", err)
	}
	b.store = jobstore.New(jobstore.Config{Client: b.client, Policy: b.cfg.Policy(), Limits: b.cfg.Limits(), ReuseFor: b.cfg.ReuseFor})
	if b.queue, err = jobqueue.Open(ctx, jobqueue.Config{ProjectID: b.cfg.ProjectID, Emulator: b.cfg.PubSubHost}); err != nil {
		return err
	}
	b.reader, err = records.Open(ctx, records.Config{ProjectID: b.cfg.ProjectID, Emulator: b.cfg.FirestoreHost})
	return err
}

func (b *bed) close() error {
	var errs []error
	if b.queue != nil {
		errs = append(errs, b.queue.Close())
	}
	if b.reader != nil {
		errs = append(errs, b.reader.Close())
	}
	if b.client != nil {
		errs = append(errs, b.client.Close())
	}
	if b.cloud != nil {
		errs = append(errs, b.cloud.stop())
	}
	return errors.Join(errs...)
}

// submit asks for an export of the first rows messages and notifies, as the API does.
func (b *bed) submit(ctx context.Context, rows int) (string, error) {
	params := window(rows).With(jobs.ParamProfile, jobs.ProfileRFC4180).With(jobs.ParamFormulaGuard, b.form.params[jobs.ParamFormat] == nil)
	maps.Copy(params, b.form.params)
	sub, err := b.store.Submit(ctx, jobs.Submission{
		OrgID: orgID, KeyID: "bench", Kind: dataset.VIPMessages.Kind(), Fresh: true, IdempotencyKey: jobs.NewID(),
		Params: params,
	})
	if err != nil {
		return "", err
	}
	return sub.Job.ID, b.queue.Publish(ctx, jobs.QueueExports, jobs.Message{JobID: sub.Job.ID})
}
