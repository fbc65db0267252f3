package fault

import (
	"encoding/json"
	"net/http"

	"exportd/internal/loopback"
)

// maxConfigBytes bounds a configuration sent over HTTP.
const maxConfigBytes = 1 << 20

// Control answers GET and PUT /faults (a Config as JSON), GET /counters and POST /counters/reset, and GET
// with the JSON of a report for each path of reports. actions, by the path, are for POST. It has no
// authentication: it belongs on a loopback listener of its own. What only a web page sends is refused:
// requests that carry Origin, and those for a host that is not this machine.
func (in *Injector) Control(reports map[string]func() any, actions map[string]http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { reply(w, in.Config()) })
	mux.HandleFunc("PUT /faults", in.putFaults)
	mux.HandleFunc("GET /counters", func(w http.ResponseWriter, _ *http.Request) { reply(w, in.Counters()) })
	mux.HandleFunc("POST /counters/reset", func(w http.ResponseWriter, _ *http.Request) {
		in.ResetCounters()
		w.WriteHeader(http.StatusNoContent)
	})
	for path, report := range reports {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { reply(w, report()) })
	}
	for path, act := range actions {
		mux.HandleFunc("POST "+path, act)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" || !loopback.IsHost(r.Host) {
			http.Error(w, "not for web pages", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (in *Injector) putFaults(w http.ResponseWriter, r *http.Request) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxConfigBytes))
	d.DisallowUnknownFields()
	var c Config
	if err := d.Decode(&c); err != nil {
		http.Error(w, "decode faults: "+err.Error(), http.StatusBadRequest)
		return
	}
	if err := in.Set(c); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply(w, in.Config())
}

func reply(w http.ResponseWriter, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "encode answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n'))
}
