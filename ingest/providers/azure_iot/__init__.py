"""Azure IoT Hub through the REST API of its service side."""
