"""Scripts that run inside the built image, one question each; an assertion says what is wrong."""
