package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"exportd/api"
)

// readyWithin bounds the checks of one readiness probe.
const readyWithin = 2 * time.Second

// serveOps answers the platform's probes of a worker until ctx ends.
func serveOps(ctx context.Context, addr string, alive func() error, checks []api.Check, log *zap.Logger) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on EXPORTD_OPS_ADDR=%s: %w", addr, err)
	}
	log.Info("worker answers probes", zap.String("addr", l.Addr().String()))
	h := &http.Server{
		Handler: opsHandler(alive, checks, log), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 4 << 10,
	}
	stop := context.AfterFunc(ctx, func() { _ = h.Close() })
	defer stop()
	if err := h.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("serve probes: %w", err)
	}
	return nil
}

// opsHandler: /livez fails when only another process can help, /readyz when a service cannot
// be used. What was wrong goes to the log: the probe's reader sees the name of the service.
func opsHandler(alive func() error, checks []api.Check, log *zap.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		if err := alive(); err != nil {
			log.Error("worker is cut off", zap.Error(err))
			http.Error(w, "cut off", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyWithin)
		defer cancel()
		for _, check := range checks {
			if err := check.Run(ctx); err != nil {
				log.Warn("worker is not ready", zap.String("check", check.Name), zap.Error(err))
				http.Error(w, check.Name+" is unavailable", http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}
