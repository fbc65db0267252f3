// Receiver takes callbacks, and saves the file of each export that has succeeded as KIND-JOB.csv.
//
// WEBHOOK_SECRET may have two secrets, with a comma between, while one replaces the other.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"exportd/api/client"
)

const maxBody = 1 << 20

type receiver struct {
	secrets []string
	todo    chan *client.Callback

	mu   sync.Mutex
	seen map[string]bool // keep ids in your database if an event must not be handled twice
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxBody))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	callback, err := client.VerifyCallback(request.Header, body, time.Now(), r.secrets...)
	if err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.seen[callback.ID] {
		select {
		case r.todo <- callback:
		default:
			w.WriteHeader(http.StatusServiceUnavailable) // it comes again
			return
		}
		if len(r.seen) >= 10_000 {
			clear(r.seen)
		}
		r.seen[callback.ID] = true
	}
	w.WriteHeader(http.StatusNoContent) // at once: the work comes afterwards
}

func handle(ctx context.Context, api *client.Client, callback *client.Callback) error {
	data := &callback.Data
	if callback.Type != "export.succeeded" {
		fmt.Println(callback.Type, data.JobID, data.Error)
		return nil
	}
	job, err := api.GetJob(ctx, data.JobID)
	if err != nil {
		return err
	}
	file := fmt.Sprintf("%s-%s.csv", data.Kind, data.JobID)
	if err := api.Save(ctx, job, file, nil); err != nil {
		return err
	}
	fmt.Println(file, "has", *data.TotalCount, "rows")
	return nil
}

func main() {
	api, err := client.New(client.Config{BaseURL: os.Getenv("URL"), Key: os.Getenv("KEY"), Secret: os.Getenv("SECRET")})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT")) // no PORT: a free one
	if err != nil {
		log.Fatal(err)
	}
	r := &receiver{secrets: strings.Split(os.Getenv("WEBHOOK_SECRET"), ","), todo: make(chan *client.Callback, 1000), seen: map[string]bool{}}
	server := &http.Server{Handler: r, ReadTimeout: 10 * time.Second}
	go func() { log.Fatal(server.Serve(listener)) }()
	fmt.Printf("listening on http://%s/\n", listener.Addr())
	for callback := range r.todo {
		if err := handle(context.Background(), api, callback); err != nil {
			fmt.Println(err)
		}
	}
}
