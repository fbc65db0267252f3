# exportd: what a developer and CI run. `make help` lists it.

GO      ?= go
TAGS    := nomsgpack
# Those of all tests that need more than Go.
ALLTAGS := $(TAGS),postgres,libreoffice,chromium,alerts,conformance,operations,fleet,consumers
BIN     := bin
# Two cores are what CI has; packages start servers, so no more at a time.
PARALLEL ?= 2
# The longest package takes 6 minutes alone; beside another one, and on a slow machine, more than go's 10.
TESTFLAGS ?= -race -shuffle=on -count=1 -timeout 20m
PKGS    := ./...
# What the programs say they are (--version, /healthz): the tag at or before the commit, and the commit,
# with -dirty if files differ from it. Empty without git: internal/version has what is said then.
VERSION ?= $(patsubst v%,%,$(shell git describe --tags --match 'v[0-9]*' --abbrev=12 2>/dev/null))
COMMIT  ?= $(shell git describe --always --exclude '*' --abbrev=12 --dirty 2>/dev/null)
LDFLAGS  = -s -w -X exportd/internal/version.release=$(VERSION) -X exportd/internal/version.commit=$(COMMIT)

.DEFAULT_GOAL := help

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## Run everything in one process with demo data, on 127.0.0.1:8080; ARGS="--data-dir DIR" adds flags
	./$(BIN)/exportd-dev run $(ARGS)

build: ## Build bin/exportd, bin/exportctl and bin/exportd-dev
	$(GO) build -tags $(TAGS) -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

# The models (jobs/model_*_test.go) run in one goroutine each, which the race detector only makes four times as slow.
test: ## Run all tests with the race detector, in random order, and the models of jobs
	$(GO) test -tags $(TAGS) -p $(PARALLEL) $(TESTFLAGS) $(PKGS)
	$(GO) test -tags $(TAGS) $(filter-out -race,$(TESTFLAGS)) -run Model ./jobs

bench: ## Measure speed, memory, scale and cost (about 20 minutes on an idle machine)
	$(GO) run ./internal/bench $(BENCHFLAGS)

postgres: ## Read exports back with PostgreSQL, which the test starts for itself
	$(GO) test -tags $(TAGS),postgres $(TESTFLAGS) -run '^TestPostgres$$' ./internal/e2e

chromium: ## Open /docs, the console and the embedded cloud's data browser in Chromium, and try to break them; CI does not, as installing it takes long
	npm ci --prefix internal/console/testdata/axe --silent --no-audit --no-fund
	$(GO) test -tags $(TAGS),chromium -count=1 -v -timeout 20m -run 'InChromium$$' ./internal/console $(if $(SCREENSHOTS),-screenshots $(abspath $(SCREENSHOTS)))
	$(GO) test -tags $(TAGS),chromium -count=1 -v -timeout 20m -p 1 -run 'InChromium$$' ./internal/browser ./internal/e2e
	$(GO) test -tags $(TAGS),chromium -count=1 -v -timeout 20m -run 'InChromium$$' ./internal/localcloud $(if $(SCREENSHOTS),-screenshots $(abspath $(SCREENSHOTS)))
	$(GO) test -tags $(TAGS),chromium -count=1 -v -timeout 30m -run 'InChromium$$' ./api/docs $(if $(SCREENSHOTS),-screenshots $(abspath $(SCREENSHOTS)))
	$(GO) test -tags $(TAGS),chromium -count=1 -v -timeout 20m -run '^TestDocsInChromium$$' ./api $(if $(SCREENSHOTS),-screenshots $(abspath $(SCREENSHOTS)))

since: ## Two nights of 10,000 changes in 500,000 rows, each compared with what a naive comparison of two files gives
	$(GO) test -tags $(TAGS) -count=1 -v -timeout 20m -run '^TestSince$$' ./internal/e2e -since-rows $(or $(ROWS),500000) -since-changes $(or $(CHANGES),10000)

quote: ## 100 quotes beside what came of them: rows, bytes, seconds, alone and behind ten others
	$(GO) test -tags $(TAGS) -count=1 -v -timeout 30m -run '^TestQuotes$$' ./internal/e2e -quote-exports $(or $(EXPORTS),100) -quote-messages $(or $(MESSAGES),40000)

newcomer: ## Do what the quickstart page says in a clone, in Go, TypeScript and Python, until a file is there, and say how long each step takes
	$(GO) test -tags $(TAGS) -count=1 -v -timeout 20m -run '^TestNewcomer$$' ./api/client -newcomer

libreoffice: ## Open exports in LibreOffice with each separator, and count formulas
	$(GO) test -tags $(TAGS),libreoffice -count=1 -run '^TestLibreOffice' ./internal/csvrow ./internal/export

sheets: ## More rows than a sheet of Excel has room for, by workers that are killed: each row once, also in LibreOffice (6 GB)
	EXPORTD_REQUIRE_ALL=1 $(GO) test -tags $(TAGS),consumers -count=1 -v -timeout 90m -run '^TestSheets$$' ./internal/e2e $(if $(USERS),-sheet-users $(USERS)) $(if $(ROWS),-sheet-rows $(ROWS))

# Debian's libreoffice-calc, libtext-csv-perl, miller, nodejs, npm, php-cli, postgresql, python3-pandas, r-base-core, ruby and sqlite3 are what it needs.
consumers: ## Have 17 readers that others have written find the rows and cells of each form of file (a minute and a half)
	npm ci --prefix internal/csvrow/testdata/consumers --ignore-scripts --silent --no-audit --no-fund
	EXPORTD_REQUIRE_ALL=1 $(GO) test -tags $(TAGS),consumers -count=1 -v -run '^TestConsumers$$' ./internal/csvrow

check: format vet lint verify deployments test conformance postgres libreoffice ## What CI runs: format, vet, staticcheck, verify, tests

operations: ## Run the pages of deployments/operations against the embedded cloud, and mend a night with exportctl
	$(GO) test -tags $(TAGS),operations -count=1 -v -run '^Test(Operations|NightWithExportctl)$$' ./internal/e2e

# -mod=mod: go.mod there follows the one here. What is said of images, manifests and releases has a module of its own: what it needs is in no program.
deployments: ## Check deployments/: manifests, and what builds images and releases
	cd deployments/tools && $(GO) vet -mod=mod -tags $(TAGS),release ./... && $(GO) tool -modfile=../../go.mod staticcheck -tags $(TAGS),release ./... && $(GO) test -mod=mod -tags $(TAGS) -count=1 ./...

RELEASE = cd deployments/tools && $(GO) run -mod=mod ./release -root ../.. -version=$(VERSION) -commit=$(COMMIT) -out ../../$(BIN)/$(1)

image: ## Build the container image for linux/amd64 and linux/arm64 into bin/image-VERSION; PUSH=REGISTRY/NAME:TAG pushes it
	$(call RELEASE,image-$(VERSION)) -image $(if $(PUSH),-push $(PUSH))

image-demo: ## Build the image of exportd-dev, for deployments/compose, into bin/image-demo-VERSION
	$(call RELEASE,image-demo-$(VERSION)) -image -demo

image-test: ## Build the image twice, compare, and run it as nobody with a read-only root; needs root
	cd deployments/tools && $(GO) test -tags $(TAGS),release -count=1 -v -timeout 30m -run '^TestImage$$' ./image

release-test: ## Make a release twice, compare, unpack each archive and run what this machine can (compiles for six platforms)
	cd deployments/tools && $(GO) test -tags $(TAGS),release -count=1 -v -timeout 40m -run '^TestRelease$$' ./release

fleet-test: ## The end-to-end tests, exportd being the image's: a root that cannot be written, a user for each process, with its permissions alone; needs root
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && chmod 755 "$$dir" && \
	  (cd deployments/tools && $(GO) run -mod=mod ./release -root ../.. -version=$(or $(VERSION),0.0.0) -commit=$(COMMIT) -out "$$dir/image" -image -platforms linux/$$($(GO) env GOARCH) -unpack "$$dir/root") && \
	  EXPORTD_TEST_IMAGE="$$dir/root" $(GO) test -tags $(TAGS),fleet -count=1 -timeout 30m $(FLEETFLAGS) ./internal/e2e

release: ## VERSION=0.2.0: archives, bills of materials, notes, image and checksums into bin/release-VERSION
	$(call RELEASE,release-$(VERSION)) $(if $(PUSH),-push $(PUSH))

generate: ## Write generated files anew: the list of datasets, openapi.yaml, the clients (with npm), the index file, the README's settings, Cloud Monitoring's alerts
	$(GO) test -tags $(TAGS) ./internal/dataset -run 'TestBuiltIn|TestZoneFile' -update
	$(GO) test -tags $(TAGS) ./api -run TestDatasetParts -update
	$(GO) generate ./api/client
	$(GO) test -tags $(TAGS) ./api/client -run '^Test(RequestMembers|PythonModels)$$' -update
	npm ci --prefix api/client/typescript --silent --no-audit --no-fund && npm run --prefix api/client/typescript --silent generate
	$(GO) test -tags $(TAGS) ./internal/config -run 'TestReadme|TestSettingsFile' -update
	$(GO) test -tags $(TAGS) ./internal/dataset -run TestIndexFile -update
	$(GO) test -tags $(TAGS) ./deployments -run TestCloudMonitoring -update

verify: ## Fail if generated files are not what their sources give
	@cp api/client/client.gen.go $(or $(TMPDIR),/tmp)/client.gen.go.$$PPID && $(GO) generate ./api/client && \
	  { cmp -s api/client/client.gen.go $(or $(TMPDIR),/tmp)/client.gen.go.$$PPID || { echo "api/client/client.gen.go is not of api/openapi.yaml: make generate"; exit 1; }; }; \
	  code=$$?; rm -f $(or $(TMPDIR),/tmp)/client.gen.go.$$PPID; exit $$code

format: ## Fail on files that gofmt would change
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "gofmt would change:"; echo "$$bad"; exit 1; fi

vet: ## go vet
	$(GO) vet -tags $(ALLTAGS) $(PKGS)

lint: ## staticcheck, at the version in go.mod
	$(GO) tool staticcheck -tags $(ALLTAGS) $(PKGS)

flood: ## A minute of each kind of thing that strangers may send, and what callers notice of it
	$(GO) test -tags $(TAGS) -count=1 -v -timeout 30m -run '^TestFlood$$' ./internal/e2e -flood $(or $(DURATION),60s)

chaos: build $(if $(PREVIOUS),$(BIN)/previous/exportd) ## Ten minutes of kills and faults against a fleet of real processes; PREVIOUS=v0.1.0 (a tag or commit) has half of it be that build, and builds replace each other
	$(GO) run -tags $(TAGS) ./internal/chaos -duration $(or $(DURATION),10m) $(if $(SEED),-seed $(SEED)) $(if $(PREVIOUS),-previous $(BIN)/previous/exportd)

.PHONY: $(BIN)/previous/exportd
$(BIN)/previous/exportd: # of another commit, whose tag and commit it says
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && git archive $(PREVIOUS) | tar -xf - -C "$$dir" && \
	  (cd "$$dir" && $(GO) build -tags $(TAGS) -trimpath -buildvcs=false -ldflags '-s -w -X exportd/internal/version.commit=$(shell git rev-parse --short=12 $(PREVIOUS))' -o $(abspath $(BIN))/previous/ ./cmd/exportd)

conformance: ## Have Google's own clients judge the embedded cloud, and Google's emulators beside it: their tests, calls and what people do; what is expected, and why, is in testdata
	npm ci --prefix internal/localcloud/conformance/testdata/node --ignore-scripts --silent --no-audit --no-fund
	$(GO) test -tags $(TAGS),conformance -count=1 -v ./internal/localcloud/conformance

comma := ,

differential: ## Random writes and queries for the embedded Firestore, a plain evaluator and Google's emulator, ROUNDS=200 databases of them from SEED=1
	$(GO) test -tags $(TAGS) -count=1 -v -timeout 60m -run '^TestDifferential$$' ./internal/localcloud/differential -rounds $(or $(ROUNDS),200) -seed $(or $(SEED),1)

cloud-kills: ## Kill the embedded cloud 200 times in the middle of commits, publishes, uploads and overwrites, and look for what was acknowledged
	$(GO) test -tags $(TAGS) -count=1 -v -timeout 30m -run '^TestKills$$' ./internal/localcloud -kills.rounds $(or $(ROUNDS),200)

# Inputs that reach new code are not made small, which takes most of the time where a server's coverage differs between runs.
fuzz: ## Every fuzz target, one after the other, DURATION=10m each; ONLY=internal/localcloud for those below it
	@ulimit -v 24000000; for pkg in $$(git grep -l '^func Fuzz' -- '$(or $(ONLY),.)/**_test.go' | xargs -n1 dirname | sort -u); do \
		for name in $$(cat $$pkg/*_test.go | sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p'); do \
			echo "$$pkg $$name"; $(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$name$$" -fuzztime $(or $(DURATION),10m) -fuzzminimizetime 10x -parallel 1 ./$$pkg || exit 1; \
		done; \
	done

# As released: without cgo, and with the GOGC that exportd-dev sets (cmd/exportd-dev/memory.go).
growth: ## Update 1,000 documents 5,000 times within an hour of the embedded Firestore's clock: what its files and its process become
	CGO_ENABLED=0 GOGC=50 $(GO) test -tags $(TAGS) -count=1 -v -timeout 120m -run '^TestGrowthOfProcess$$' ./internal/localcloud/firestoreserver/fsstore -growth.process $(if $(SIZE),$(SIZE),1000$(comma)5000) -growth.text $(or $(TEXT),300)

damage: ## Damage every field of every document in every way: fleet, stores, API (about 20 minutes)
	ulimit -v 16000000; for pkg in ./worker ./internal/jobstore ./api ./internal/apikey; do \
		case $$pkg in ./internal/apikey) all=;; *) all="-args -damage.sample 0";; esac; \
		$(GO) test -tags $(TAGS) -count=1 -timeout 60m -v -run '^(TestDamaged|TestWounds)' $$pkg $$all || exit 1; \
	done

telemetry: ## Have a Prometheus scrape 200 exports of three orgs on two workers, and 100,000 strange requests; needs Debian's prometheus
	$(PICTURES)
	EXPORTD_REQUIRE_ALL=1 EXPORTD_TEST_STRANGERS=100000 $(GO) test -tags $(TAGS) -count=1 -v -run '^TestTelemetry' ./internal/e2e $(DASHBOARD)

alerts: ## Break a real fleet until alerts fire in a real Prometheus, and run their runbooks as printed (about ten minutes)
	$(PICTURES)
	$(GO) test -tags $(TAGS),alerts -count=1 -timeout 30m -v -run '^TestAlertsInReality$$' ./internal/e2e $(DASHBOARD)

# SCREENSHOTS=DIR has the dashboard drawn in Chromium (Debian's), by a library from npm.
DASHBOARD = $(if $(SCREENSHOTS),-screenshots $(abspath $(SCREENSHOTS)))
PICTURES  = $(if $(SCREENSHOTS),npm ci --prefix internal/e2e/testdata/dashboard --silent --no-audit --no-fund)

simulate: ## Simulate up to 1,024 workers and 10,000 orgs in virtual time; writes deployments/capacity.md
	$(GO) test -tags $(TAGS) -count=1 -timeout 30m -v -run '^TestSimulate$$' ./internal/simulate -report ../../deployments/capacity.md $(if $(SEED),-seed $(SEED))

.PHONY: growth differential fuzz cloud-kills conformance help run build test bench since sheets quote newcomer postgres libreoffice consumers chromium check deployments operations image image-demo image-test fleet-test release-test release format vet lint generate verify chaos damage flood simulate telemetry alerts
