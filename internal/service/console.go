package service

import (
	"net/http"

	"go.uber.org/zap"

	"exportd/api"
	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/console"
	"exportd/internal/panics"
)

// consolePath is where the console is, on whatever port.
const consolePath = "/console"

// openConsole makes the console over the API of this process, and puts it on the API's port where a setting
// says so; nil if there is none. The caller calls stop.
func openConsole(cfg config.Config, keys *apikey.Store, server *api.Server, told *panics.Reporter, log *zap.Logger) (page http.Handler, stop func(), err error) {
	if cfg.Console == "none" {
		return nil, func() {}, nil
	}
	sealer := keys.Sealer()
	if sealer == nil { // development without a keyset: sessions end with the process
		if sealer, err = apikey.PassingSealer(); err != nil {
			return nil, nil, err
		}
	}
	c, err := console.New(console.Config{
		API: server, Keys: keys.Lookup, FreshKeys: keys.Fresh, Nonces: keys.UseNonce, Sealer: sealer, LogsURL: cfg.ConsoleLogsURL, TraceURL: cfg.ConsoleTraceURL, Logger: log, Panics: told,
		As: api.WithOperator,
	})
	if err != nil {
		return nil, nil, err
	}
	if cfg.Console == "public" {
		server.Mount(consolePath, c)
	}
	return c, c.Stop, nil // what is read for streams ends with them, which the servers end
}
