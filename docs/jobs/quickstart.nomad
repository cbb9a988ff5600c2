# What `drover quickstart` runs: two instances of a small web service, published at
# http://hello.localhost:9999/

job "hello" {
  datacenters = ["dc1"]

  group "hello" {
    count = 2

    restart {
      attempts = 3
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    task "hello" {
      driver = "raw_exec"

      config {
        command = "drover"
        args    = ["example-backend", "-listen", "${NOMAD_ADDR_http}"]
      }

      resources {
        cpu    = 50
        memory = 32

        network {
          port "http" {}
        }
      }

      service {
        name = "hello"
        port = "http"
        tags = ["urlprefix-hello.localhost:9999/"]

        check {
          type     = "http"
          path     = "/"
          interval = "2s"
          timeout  = "1s"
        }
      }
    }
  }
}
