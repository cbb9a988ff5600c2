# A job: two instances of a small HTTP server, checked, found over DNS, routed to by the edge proxy.
#
#   drover job run example.nomad
#   dig @127.0.0.1 -p 8600 example.service.dc1.consul SRV
#   curl http://example.localhost:9999/

job "example" {
  # Nodes of these datacenters may run it.
  datacenters = ["dc1"]

  # "service" runs until it is stopped, "batch" until it is done, "system" once on every node.
  type = "service"

  # Tasks of a group are placed together on one node, count times.
  group "web" {
    count = 2

    # What happens on the node when a task ends. Afterwards the group is placed elsewhere.
    restart {
      attempts = 2
      interval = "30m"
      delay    = "15s"
      mode     = "fail"
    }

    task "server" {
      # "docker" runs an image, "raw_exec" a program of the node (agents must allow that; -dev does).
      driver = "docker"

      config {
        image = "nginx:alpine"

        # The port the server listens on in its container, by the name it has below.
        port_map {
          http = 80
        }
      }

      # What is set aside for it on the node.
      resources {
        # MHz
        cpu = 100

        # MB
        memory = 64

        network {
          # A free port of the node, also in $NOMAD_PORT_http.
          port "http" {}
        }
      }

      # How it is found: DNS, the catalog, and routes of the edge proxy ("urlprefix-HOST/PATH").
      service {
        name = "example"
        port = "http"
        tags = ["urlprefix-example.localhost:9999/"]

        # Only instances that pass are found.
        check {
          type     = "http"
          path     = "/"
          interval = "5s"
          timeout  = "2s"
        }
      }
    }
  }
}
